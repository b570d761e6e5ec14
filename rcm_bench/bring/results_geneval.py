"""GenEval's result file as scores by prompt and number."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rcm_bench.bring.files import shown
from rcm_bench.bring.prompts import match_record
from rcm_bench.bring.taken import Taken
from rcm_bench.geneval_results import ResultRow, read_results
from rcm_bench.types import PromptRecord

_NUMBER = re.compile(r"([0-9]+)\.[A-Za-z]+")


def take_geneval(path: Path, prompts: Sequence[PromptRecord], samples: Mapping[str, int]) -> Taken:
    """Read ``results.jsonl``: one verdict an image, found by its metadata.

    Images of a prompt are ordered by the number in their names; pairs are made by prompt, so that
    the number itself says nothing.

    Args:
        path: The file.
        prompts: The suite's prompts.
        samples: How many samples of each prompt the suite asks for, by prompt id.

    Raises:
        UserError: The file is not as GenEval's evaluation writes it.
    """
    known = {(prompt.text, prompt.task): prompt for prompt in prompts}
    faults: list[str] = []
    numbered: dict[str, dict[int, ResultRow]] = {}
    for row in read_results(path):
        where = f"{shown(path)}:{row.line}"
        prompt, fault = match_record(row.metadata, known)
        number = _NUMBER.fullmatch(re.split(r"[/\\]", row.filename)[-1])
        if prompt is None:
            faults.append(f"{where}: {fault}")
        elif number is None:
            faults.append(f"{where}: filename {shown(row.filename)}: expected a number")
        else:
            own = numbered.setdefault(prompt.prompt_id, {})
            if (other := own.setdefault(int(number.group(1)), row)) is not row:
                faults.append(f"{where}: has the same prompt and number as line {other.line}")
    scores: dict[tuple[str, int], dict[str, Any]] = {}
    for prompt_id, rows in numbered.items():
        wanted = samples[prompt_id]
        if len(rows) > wanted:
            line = rows[max(rows)].line
            faults.append(
                f"{shown(path)}:{line}: expected {wanted} images of a prompt, got {len(rows)}; the "
                "suite says how many under prompts.samples_per_prompt"
            )
        for place, (_, row) in enumerate(sorted(rows.items())[:wanted]):
            scores[prompt_id, place] = {"correct": _score(row)}
    return Taken(scores=scores, faults=faults)


def _score(row: ResultRow) -> dict[str, Any]:
    return {
        "value": float(row.correct),
        "reason": row.reason or None,
        "details": {"correct": row.correct, "boxes": dict(row.details)},
    }
