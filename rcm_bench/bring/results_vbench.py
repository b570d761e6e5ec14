"""VBench's result files as scores by prompt and number: one file, or a folder of them.

A video that VBench left out by its own rule (color: the object is in no frame; flickering: not
static) is in no result. Whether it was left out or is missing can be told from the
``*_full_info.json`` that VBench writes beside its results; without it such a video is missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rcm_bench.bring.files import shown
from rcm_bench.bring.prompts import quoted
from rcm_bench.bring.taken import Taken
from rcm_bench.errors import UserError
from rcm_bench.types import PromptRecord
from rcm_bench.vbench.dimensions import I2V, STATIC_VIDEOS, T2V
from rcm_bench.vbench.editions import is_of
from rcm_bench.vbench.measures import DROPPED
from rcm_bench.vbench.presets import I2V_PRESETS, PRESETS
from rcm_bench.vbench.prompts import FLICKERING
from rcm_bench.vbench.results import (
    EVAL_SUFFIX,
    INFO_SUFFIX,
    DimensionResult,
    VideoResult,
    merge_results,
    read_info,
    read_results,
    split_name,
)

COLOR = "color"
_MAX_NAMED = 5


def take_vbench(path: Path, prompts: Sequence[PromptRecord], samples: Mapping[str, int]) -> Taken:
    """Read ``*_eval_results.json``, and what VBench wrote beside it.

    Args:
        path: A file, or a folder of files with different dimensions.
        prompts: The suite's prompts, of ``set: vbench`` or ``vbench_i2v``.
        samples: How many videos of each prompt the suite asks for, by prompt id.

    Raises:
        UserError: A file is not as VBench writes it, or two hold the same dimension.
    """
    files = result_files(path)
    results = merge_results((shown(file), read_results(file)) for file in files)
    listed = _listed(files)
    known = {prompt.text: prompt for prompt in prompts}
    of_images = any(is_of("vbench_i2v", prompt.metadata) for prompt in prompts)
    expected, other = (I2V, "VBench") if of_images else (T2V, "VBench-I2V")
    scores: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    faults, remarks = [], []
    for name, result in results.items():
        if name not in expected:
            faults.append(f"{name}: belongs to {other}; expected {', '.join(expected)}")
            continue
        found, said = _dimension(result, known, samples)
        faults += said
        remarks += [f"{name}: {text}" for text in result.remarks]
        for key, score in (*found.items(), *_dropped(name, found, prompts, samples, listed)):
            scores.setdefault(key, {})[name] = score
    return Taken(scores=scores, faults=[f"{shown(path)}: {f}" for f in faults], remarks=remarks)


def result_files(path: Path) -> list[Path]:
    """Return the result files that a path names.

    Raises:
        UserError: A folder holds none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.iterdir() if p.name.endswith(EVAL_SUFFIX))
    if not found:
        raise UserError(f"{shown(path)}: expected files named *{EVAL_SUFFIX} in this folder")
    return found


def _listed(files: Sequence[Path]) -> set[tuple[str, str, int]] | None:
    """Return dimension, prompt and number of every video that VBench says it found, if it does."""
    beside = [f.with_name(f.name.removesuffix(EVAL_SUFFIX) + INFO_SUFFIX) for f in files]
    there = [file for file in beside if file.is_file()]
    if not there:
        return None
    found = set()
    for row in (row for file in there for row in read_info(file)):
        for video in row.videos:
            _, index = split_name(video)
            found |= {(name, row.prompt, -1 if index is None else index) for name in row.dimensions}
    return found


def _dimension(
    result: DimensionResult, known: Mapping[str, PromptRecord], samples: Mapping[str, int]
) -> tuple[dict[tuple[str, int], dict[str, Any]], list[str]]:
    """Return the scores of one dimension, and what is wrong with its videos."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    faults = []
    for video in result.videos:
        prompt = known.get(video.prompt)
        name = f"{result.dimension}: video {quoted(f'{video.prompt}-{video.index}')}"
        if prompt is None or result.dimension not in prompt.metadata["vbench"]["dimensions"]:
            faults.append(f"{name}: is of no prompt of this dimension")
        elif video.index is None or video.index >= samples[prompt.prompt_id]:
            last = samples[prompt.prompt_id] - 1
            faults.append(f"{name}: expected numbers from 0 to {last}, as the suite asks for")
        elif (prompt.prompt_id, video.index) in found:
            faults.append(f"{name}: comes twice")
        else:
            found[prompt.prompt_id, video.index] = _score(video)
    return found, [*_brief(faults), *_too_many(result.dimension, found, known)]


def _score(video: VideoResult) -> dict[str, Any]:
    parts = {"numerator": video.numerator, "denominator": video.denominator}
    return {"value": video.value, "reason": None, "details": parts}


def _too_many(
    dimension: str,
    found: Mapping[tuple[str, int], Any],
    known: Mapping[str, PromptRecord],
) -> list[str]:
    """Refuse more than five videos of a prompt where the static filter leaves five."""
    if dimension != FLICKERING:
        return []
    counts: dict[str, int] = {}
    for prompt_id, _ in found:
        counts[prompt_id] = counts.get(prompt_id, 0) + 1
    filtered = {p.prompt_id for p in known.values() if _is_filtered(p)}
    over = [i for i, number in counts.items() if i in filtered and number > STATIC_VIDEOS]
    return [
        f"{FLICKERING}: {len(over)} prompts have more than {STATIC_VIDEOS} videos, but the suite's "
        "preset filters static ones; name the preset that these results followed"
    ] * bool(over)


def _is_filtered(prompt: PromptRecord) -> bool:
    return {**PRESETS, **I2V_PRESETS}[prompt.metadata["vbench"]["preset"]].static_filter


def _dropped(
    dimension: str,
    found: Mapping[tuple[str, int], Any],
    prompts: Sequence[PromptRecord],
    samples: Mapping[str, int],
    listed: set[tuple[str, str, int]] | None,
) -> Iterable[tuple[tuple[str, int], dict[str, Any]]]:
    """Yield the videos that VBench left out by its own rules, as far as that can be told."""
    if dimension not in (COLOR, FLICKERING):
        return
    there = {prompt_id for prompt_id, _ in found}
    seen = {text for name, text, _ in listed or () if name == dimension}
    for prompt in prompts:
        if dimension not in prompt.metadata["vbench"]["dimensions"]:
            continue
        for index in range(samples[prompt.prompt_id]):
            if (prompt.prompt_id, index) in found:
                continue
            if dimension == COLOR:
                gone = listed is not None and (COLOR, prompt.text, index) in listed
                why = "the object is in no frame"
            else:
                # Static videos are renumbered from 0: a prompt that has any has been filtered.
                gone = _is_filtered(prompt) and (prompt.prompt_id in there or prompt.text in seen)
                why = "not among the first five static videos of its prompt"
            if gone:
                yield (prompt.prompt_id, index), {"value": None, "reason": f"{DROPPED}: {why}"}


def _brief(faults: Sequence[str]) -> list[str]:
    more = len(faults) - _MAX_NAMED
    return [*faults[:_MAX_NAMED], *([f"and {more} more such videos"] if more > 0 else [])]
