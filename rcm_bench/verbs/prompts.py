"""prompts: a benchmark's prompt set in its official format."""

from pathlib import Path

from rcm_bench.errors import unknown_name
from rcm_bench.prompt_sets import SETS, lab_metadata, write_official

PER_TASK = 100


def prompts(benchmark: str, out: str | Path) -> list[Path]:
    """Write ``generation_prompts.txt`` and ``evaluation_metadata.jsonl`` as GenEval has them.

    Args:
        benchmark: Name of a built-in prompt set: ``"lab"``.
        out: Folder to write into.

    Returns:
        The files written.

    Raises:
        UserError: There is no such prompt set.
    """
    if benchmark not in SETS:
        raise unknown_name("prompts", "prompt set", benchmark, SETS)
    return write_official(lab_metadata(PER_TASK, 0), Path(out))
