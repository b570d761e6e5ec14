"""prompts: a benchmark's prompt set in its official format."""

from pathlib import Path

from rcm_bench.errors import unknown_name
from rcm_bench.geneval_prompts import official_metadata
from rcm_bench.prompt_sets import SETS, lab_metadata, write_official

PER_TASK = 100


def prompts(benchmark: str, out: str | Path) -> list[Path]:
    """Write ``generation_prompts.txt`` and ``evaluation_metadata.jsonl`` as GenEval has them.

    Args:
        benchmark: Name of a built-in prompt set: ``"lab"`` or ``"geneval"``, whose 553 prompts come
            out byte for byte as published.
        out: Folder to write into.

    Returns:
        The files written.

    Raises:
        UserError: There is no such prompt set.
    """
    if benchmark not in SETS:
        raise unknown_name("prompts", "prompt set", benchmark, SETS)
    if benchmark == "geneval":
        return write_official(official_metadata(), Path(out))
    return write_official(lab_metadata(PER_TASK, 0), Path(out))
