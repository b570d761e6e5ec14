"""GenEval's own result files out of a run, and what its scores say of the detector."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rcm_bench.canonical import digest_of
from rcm_bench.geneval_results import ResultRow, results_text
from rcm_bench.measured import CELL
from rcm_bench.types import PromptRecord

_MAX_SLUG = 40


def write_cells(
    samples: pd.DataFrame,
    scores: pd.DataFrame,
    prompts: Sequence[PromptRecord],
    benchmark: str,
    out: Path,
) -> list[Path]:
    """Write ``geneval_<model>_<sampler>_<steps>.jsonl`` for every whole cell.

    The official summary script counts what is in a file and knows nothing of what is not: a cell
    that lacks a sample or a score gets no file, and one from before is removed. Rows stand in the
    official order; ``filename`` is the place in the official folder layout.

    Args:
        samples: The samples table, all planned items.
        scores: The scores table.
        prompts: The run's prompts.
        benchmark: Name of the benchmark in the scores.
        out: Folder to write into.

    Returns:
        The files written.
    """
    own = scores[(scores["benchmark"] == benchmark) & (scores["metric"] == "correct")]
    verdicts = own.drop_duplicates("item_id").set_index("item_id")
    known = {prompt.prompt_id: prompt for prompt in prompts}
    written = []
    for cell, rows in samples.groupby(CELL, sort=False):
        path = out / file_name(*map(str, cell))
        found = verdicts.reindex(rows["item_id"])
        if found["value"].isna().any():
            path.unlink(missing_ok=True)
            continue
        pairs = zip(rows.to_dict("records"), found.to_dict("records"), strict=True)
        ordered = sorted(pairs, key=lambda pair: (pair[0]["prompt_id"], pair[0]["seed_index"]))
        text = results_text(
            _row(known[sample["prompt_id"]], sample["seed_index"], verdict)
            for sample, verdict in ordered
        )
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
        written.append(path)
    return written


def file_name(model: str, sampler: str, steps: str) -> str:
    """Return the name of a cell's file."""
    return f"{cell_stem('geneval', model, sampler, steps)}.jsonl"


def cell_stem(benchmark: str, model: str, sampler: str, steps: str) -> str:
    """Return what a cell's files begin with; names that are no plain words get a digest."""
    names = [re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.") for name in (model, sampler)]
    plain = [name[:_MAX_SLUG] for name in names] == [model, sampler]
    mark = "" if plain else f"_{digest_of([model, sampler])[:8]}"
    return f"{benchmark}_{'_'.join(name[:_MAX_SLUG] for name in names)}{mark}_{steps}"


def _row(prompt: PromptRecord, seed_index: int, verdict: Mapping[Any, Any]) -> ResultRow:
    details: Mapping[str, Any] = json.loads(verdict["details"])
    folder = prompt.prompt_id.partition("-")[0]
    return ResultRow(
        filename=f"{folder}/samples/{seed_index:05d}.png",
        tag=prompt.task,
        prompt=prompt.text,
        correct=bool(details["correct"]),
        reason=verdict["reason"] if isinstance(verdict["reason"], str) else "",
        metadata=prompt.metadata,
        details=details["boxes"],
    )


def self_tests(scores: pd.DataFrame, benchmark: str) -> str:
    """Say what the detector's self-test gave in the processes that made the scores.

    Args:
        scores: The scores table.
        benchmark: Name of the benchmark in the scores.
    """
    own = scores[(scores["benchmark"] == benchmark) & scores["value"].notna()]
    found = sorted({json.loads(text).get("self_test") for text in own["details"]})
    if not found:
        return "self-test: nothing scored yet"
    spread = " to ".join(f"{value:.3f}" for value in dict.fromkeys((found[0], found[-1])))
    return f"self-test passed: person {spread} on a portrait of one"
