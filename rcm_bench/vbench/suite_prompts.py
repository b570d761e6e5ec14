"""VBench's prompts as a suite asks for them: ``prompts: {set: vbench, preset: ..., ...}``.

And those of VBench-I2V: ``{set: vbench_i2v, info: ...}``; each is of an image, by its name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcm_bench.errors import UserError, unknown_name
from rcm_bench.suite_load import LoadedSuite
from rcm_bench.vbench import environment
from rcm_bench.vbench.editions import EDITIONS
from rcm_bench.vbench.presets import DEFAULT, I2V_DEFAULT, I2V_PRESETS, PRESETS, find_preset
from rcm_bench.vbench.prompts import (
    I2V_NAME,
    Row,
    read_i2v_rows,
    read_rewritten,
    read_rows,
    vbench_metadata,
    with_videos,
)


def suite_metadata(loaded: LoadedSuite) -> list[dict[str, Any]]:
    """Return the records of VBench's 944 prompts, or VBench-I2V's 1,118, under a suite's preset.

    Args:
        loaded: The suite. ``info`` names the package's file, that of its environment by default
            (VBench-I2V's is in VBench's repository alone and must be named);
            ``rewritten`` a file whose line i is what the models see of row i;
            ``samples_per_prompt`` the videos of each prompt in place of the preset's, with as many
            times more for flickering as the preset has; ``dimensions`` the prompts that these are
            scored on, with all that they have in the whole set: seeds, rewriting, videos.

    Raises:
        UserError: A file is missing or another, or the preset is unknown or cannot be run.
    """
    entry = loaded.suite.prompts
    i2v = entry.set == "vbench_i2v"
    name = entry.preset or (I2V_DEFAULT if i2v else DEFAULT)
    place = loaded.place("prompts", "preset")
    preset = find_preset(name, place, I2V_PRESETS if i2v else PRESETS)
    if preset.edition == "long":
        raise UserError(
            f"{place}: preset '{name}' is VBench-Long, which is not run here; its results can be "
            "brought in. Plain VBench on clips of 5 s and more is another quantity"
        )
    rows = _rows(loaded)
    rewritten = None
    if entry.rewritten is not None:
        path = _found(loaded, "rewritten", entry.rewritten)
        rewritten = read_rewritten(path, rows, preset)
    if entry.samples_per_prompt != preset.videos:
        preset = with_videos(preset, entry.samples_per_prompt)
    if entry.dimensions is not None:
        rows = _scored_for(rows, entry.dimensions, loaded)
    try:
        return vbench_metadata(rows, name, preset, rewritten)
    except UserError as fault:
        raise UserError(f"{place}: {fault}") from None


def _rows(loaded: LoadedSuite) -> list[Row]:
    """Read the file of prompts that a suite names, or the package's own."""
    entry = loaded.suite.prompts
    info = None if entry.info is None else _found(loaded, "info", entry.info)
    if entry.set != "vbench_i2v":
        return read_rows(environment.find().info if info is None else info)
    if info is None:
        raise UserError(
            f"{loaded.place('prompts')}: set 'vbench_i2v' needs {I2V_NAME} of VBench's repository "
            "as 'info'; the package does not ship it"
        )
    return read_i2v_rows(info)


def _found(loaded: LoadedSuite, key: str, name: str) -> Path:
    """Return a file beside the suite, or else of the working folder, as weights are found.

    Raises:
        UserError: It is in neither.
    """
    folder = loaded.folder("prompts", key)
    for path in (folder / name, Path(name)):
        if path.is_file():
            return path
    raise UserError(
        f"{loaded.place('prompts', key)}: {name}: no such file, neither in {folder} nor in "
        f"{Path.cwd()}; VBench's repository has it"
    )


def _scored_for(rows: list[Row], chosen: Sequence[str], loaded: LoadedSuite) -> list[Row]:
    """Keep the prompts of some dimensions, each with all of its rows: seeds go by the first."""
    place = loaded.place("prompts", "dimensions")
    benchmark = str(loaded.suite.prompts.set)
    every = EDITIONS[benchmark].dimensions
    for name in chosen:
        if name not in every:
            raise unknown_name(place, "VBench dimension", name, every)
    own = [row for row in rows if set(row.dimensions) & set(chosen)]
    if benchmark in loaded.suite.benchmarks:
        asked = (loaded.suite.benchmarks[benchmark] or {}).get("dimensions") or every
        there = {name for row in own for name in row.dimensions}
        lacking = [name for name in asked if name not in there]
        if lacking:
            raise UserError(
                f"{place}: leaves benchmarks.{benchmark} without prompts for "
                f"{', '.join(lacking)}; name these here too, or say 'dimensions' there"
            )
    prompts = {row.prompt for row in own}
    return [row for row in rows if row.prompt in prompts]
