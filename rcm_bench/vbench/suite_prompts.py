"""VBench's prompts as a suite asks for them: ``prompts: {set: vbench, preset: ..., ...}``."""

from collections.abc import Sequence
from typing import Any

from rcm_bench.errors import UserError, unknown_name
from rcm_bench.suite_load import LoadedSuite
from rcm_bench.vbench import environment
from rcm_bench.vbench.dimensions import T2V
from rcm_bench.vbench.presets import DEFAULT, find_preset
from rcm_bench.vbench.prompts import Row, read_rewritten, read_rows, vbench_metadata, with_videos


def suite_metadata(loaded: LoadedSuite) -> list[dict[str, Any]]:
    """Return the records of VBench's 944 prompts under a suite's preset.

    Args:
        loaded: The suite. ``info`` names the package's file, that of its environment by default;
            ``rewritten`` a file whose line i is what the models see of row i;
            ``samples_per_prompt`` the videos of each prompt in place of the preset's, with as many
            times more for flickering as the preset has; ``dimensions`` the prompts that these are
            scored on, with all that they have in the whole set: seeds, rewriting, videos.

    Raises:
        UserError: A file is missing or another, or the preset is unknown or cannot be run.
    """
    entry = loaded.suite.prompts
    name = entry.preset or DEFAULT
    place = loaded.place("prompts", "preset")
    preset = find_preset(name, place)
    if preset.edition == "long":
        raise UserError(
            f"{place}: preset '{name}' is VBench-Long, which is not run here; its results can be "
            "brought in. Plain VBench on clips of 5 s and more is another quantity"
        )
    if entry.info is None:
        info = environment.find().info
    else:
        info = loaded.folder("prompts", "info") / entry.info
    rows = read_rows(info)
    rewritten = None
    if entry.rewritten is not None:
        path = loaded.folder("prompts", "rewritten") / entry.rewritten
        rewritten = read_rewritten(path, rows, preset)
    if entry.samples_per_prompt != preset.videos:
        preset = with_videos(preset, entry.samples_per_prompt)
    if entry.dimensions is not None:
        rows = _scored_for(rows, entry.dimensions, loaded)
    try:
        return vbench_metadata(rows, name, preset, rewritten)
    except UserError as fault:
        raise UserError(f"{place}: {fault}") from None


def _scored_for(rows: list[Row], chosen: Sequence[str], loaded: LoadedSuite) -> list[Row]:
    """Keep the prompts of some dimensions, each with all of its rows: seeds go by the first."""
    place = loaded.place("prompts", "dimensions")
    for name in chosen:
        if name not in T2V:
            raise unknown_name(place, "VBench dimension", name, T2V)
    own = [row for row in rows if set(row.dimensions) & set(chosen)]
    if "vbench" in loaded.suite.benchmarks:
        asked = (loaded.suite.benchmarks["vbench"] or {}).get("dimensions") or T2V
        there = {name for row in own for name in row.dimensions}
        lacking = [name for name in asked if name not in there]
        if lacking:
            raise UserError(
                f"{place}: leaves benchmarks.vbench without prompts for {', '.join(lacking)}; name "
                "these here too, or say 'dimensions' there"
            )
    prompts = {row.prompt for row in own}
    return [row for row in rows if row.prompt in prompts]
