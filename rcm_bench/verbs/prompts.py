"""prompts: a benchmark's prompt set in its official format."""

from pathlib import Path

from rcm_bench.errors import UserError, unknown_name
from rcm_bench.geneval_prompts import official_metadata
from rcm_bench.prompt_sets import SETS, lab_metadata, write_official

PER_TASK = 100


def prompts(benchmark: str, out: str | Path) -> list[Path]:
    """Write a prompt set: the laboratory's as GenEval has them, VBench's as VBench has them.

    Args:
        benchmark: Name of a built-in prompt set: ``"lab"``; ``"geneval"``, whose 553 prompts come
            out byte for byte as published; ``"vbench"``, read from the package's own file.
            VBench-I2V's file is in VBench's repository alone.
        out: Folder to write into.

    Returns:
        The files written.

    Raises:
        UserError: There is no such prompt set, or it cannot be written there.
    """
    if benchmark not in SETS:
        raise unknown_name("prompts", "prompt set", benchmark, SETS)
    if benchmark == "vbench_i2v":
        from rcm_bench.vbench.prompts import I2V_NAME

        raise UserError(
            f"prompts: the file of VBench-I2V, {I2V_NAME}, is in VBench's repository alone; a "
            "suite takes it as 'prompts: {set: vbench_i2v, info: FILE}'"
        )
    try:
        return _written(benchmark, Path(out))
    except OSError as fault:
        raise UserError(
            f"--out: {out}: expected a folder that can be written: {fault.strerror}"
        ) from None


def _written(benchmark: str, out: Path) -> list[Path]:
    if benchmark == "vbench":
        from rcm_bench.vbench.environment import find
        from rcm_bench.vbench.prompts import write_prompts

        return write_prompts(find().info, out)
    if benchmark == "geneval":
        return write_official(official_metadata(), out)
    return write_official(lab_metadata(PER_TASK, 0), out)
