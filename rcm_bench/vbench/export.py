"""VBench's own result files out of a run: what its scripts and its leaderboard read.

For every cell ``vbench_<model>_<sampler>_<steps>`` and ``_eval_results.json``, ``_full_info.json``,
and where all dimensions are whole, with five videos of each prompt, ``.zip``: the leaderboard's own
script counts a dimension that is not in the archive as 0. What lacks a score is in no file.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rcm_bench.geneval_export import cell_stem
from rcm_bench.measured import CELL
from rcm_bench.types import PromptRecord
from rcm_bench.vbench.dimensions import scale_of
from rcm_bench.vbench.editions import Edition
from rcm_bench.vbench.measures import DROPPED, dimension_table
from rcm_bench.vbench.results import EVAL_SUFFIX, INFO_SUFFIX, DimensionResult, InfoRow, VideoResult
from rcm_bench.vbench.submission import archive, write_info, write_results

_DECISIONS = ("dynamic_degree", "human_action")
"""VBench writes these as true and false."""
_COUNTED = ("object_class", "multiple_objects", "scene")
_SUFFIX = ".mp4"
VIDEOS = 5
"""Videos of each prompt that VBench scores; a pilot of fewer is nothing for its leaderboard."""
CAMERA = "camera_motion"
_MOTIONS = {
    "camera pans left": "pan_left",
    "camera pans right": "pan_right",
    "camera tilts up": "tilt_up",
    "camera tilts down": "tilt_down",
    "camera zooms in": "zoom_in",
    "camera zooms out": "zoom_out",
    "camera static": "static",
}


def write_cells(
    samples: pd.DataFrame,
    scores: pd.DataFrame,
    prompts: Sequence[PromptRecord],
    edition: Edition,
    dimensions: Sequence[str],
    benchmark: str,
    out: Path,
) -> list[Path]:
    """Write the result files of every cell; remove those that are not whole any more.

    Args:
        samples: The samples table, all planned items.
        scores: The scores table.
        prompts: The run's prompts, of a set of VBench.
        edition: Whose dimensions.
        dimensions: What the suite asks for.
        benchmark: Its name, the first word of the files.
        out: Folder to write into.

    Returns:
        The files written.
    """
    tables = {n: dimension_table(samples, scores, n, edition=edition) for n in dimensions}
    written = []
    for cell, planned in samples.groupby(CELL, sort=False):
        stem = cell_stem(benchmark, *map(str, cell))
        results = {}
        for name in dimensions:
            table = tables[name]
            own = table[(table[CELL] == list(cell)).all(axis=1)]
            found = _result(name, own, edition)
            if found is not None:
                results[name] = found
        whole = set(results) == set(edition.dimensions)
        official = planned.groupby("prompt_id").size().min() >= VIDEOS
        info = _info(prompts, planned, edition, results)
        written += _write(out, stem, results, info, packed=whole and bool(official))
    return written


def _write(
    out: Path,
    stem: str,
    results: Mapping[str, DimensionResult],
    info: Sequence[InfoRow],
    *,
    packed: bool,
) -> list[Path]:
    files = [out / f"{stem}{end}" for end in (EVAL_SUFFIX, INFO_SUFFIX, ".zip")]
    wanted = files if packed else files[:2] if results else []
    for path in files:
        if path not in wanted:
            path.unlink(missing_ok=True)
    if results:
        write_results(files[0], results)
        write_info(files[1], info)
    if packed:
        archive(files[2], files[:2])
    return wanted


def _result(name: str, table: pd.DataFrame, edition: Edition) -> DimensionResult | None:
    """Return a cell's dimension in VBench's terms; None where a video lacks its score."""
    left_out = table["reason"].astype(str).str.startswith(DROPPED)
    kept = table[~left_out]
    if not len(kept) or kept["value"].isna().any():
        return None
    ordered = kept.sort_values(["prompt_id", "seed_index"])
    videos = tuple(_video(name, row) for row in ordered.to_dict("records"))
    return DimensionResult(
        dimension=name,
        aggregate=float(kept["top"].sum() / kept["bottom"].sum()),
        videos=videos,
        by_type=_by_type(videos) if name == CAMERA else {},
    )


def _video(name: str, row: Mapping[Any, Any]) -> VideoResult:
    top, bottom = float(row["top"]), float(row["bottom"])
    value = top / bottom / scale_of(name)
    fields: dict[str, Any] = {"video_results": bool(value) if name in _DECISIONS else value}
    if name in _COUNTED:
        fields |= {"success_frame_count": int(top), "frame_count": int(bottom)}
    elif bottom != 1:
        fields |= {"video_sim": top, "cnt_per_video": int(bottom)}
    prompt, index = str(row["prompt"]), int(row["seed_index"])
    return VideoResult(
        path=f"{prompt}-{index}{_SUFFIX}",
        prompt=prompt,
        index=index,
        numerator=top,
        denominator=bottom,
        fields=fields,
    )


def _by_type(videos: Sequence[VideoResult]) -> dict[str, float | None]:
    """Return camera motion's mean of each motion that the prompts ask for."""
    found: dict[str, list[float]] = {}
    for video in videos:
        for text, motion in _MOTIONS.items():
            if text in video.prompt:
                found.setdefault(motion, []).append(video.value)
    return {motion: math.fsum(values) / len(values) for motion, values in found.items()}


def _info(
    prompts: Sequence[PromptRecord],
    planned: pd.DataFrame,
    edition: Edition,
    results: Mapping[str, DimensionResult],
) -> list[InfoRow]:
    """Return VBench's rows of what is in the results, with the videos that are there."""
    there = planned[planned["status"] == "ok"].sort_values("seed_index")
    videos = {
        str(prompt): [int(index) for index in own]
        for prompt, own in there.groupby("prompt_id")["seed_index"]
    }
    rows = []
    for prompt in prompts:
        known = prompt.metadata["vbench"]
        names = tuple(
            f"{prompt.text}-{index}{_SUFFIX}" for index in videos.get(prompt.prompt_id, ())
        )
        for place, group in zip(known["rows"], _groups(known["dimensions"], edition), strict=True):
            auxiliary = {k: v for k, v in known["auxiliary_info"].items() if k in group}
            own = InfoRow(
                prompt=prompt.text,
                dimensions=group,
                videos=names,
                auxiliary=auxiliary,
                image=known.get("image"),
            )
            rows.append((place, own))
    return [
        row for _, row in sorted(rows, key=lambda pair: pair[0]) if {*row.dimensions} & {*results}
    ]


def _groups(dimensions: Sequence[str], edition: Edition) -> list[tuple[str, ...]]:
    """Tell the dimensions of a prompt's rows apart: a row is one group, in its own order."""
    found, left = [], list(dimensions)
    while left:
        size = next(len(g) for g in edition.groups if {*left[: len(g)]} == {*g})
        found.append(tuple(left[:size]))
        left = left[size:]
    return found
