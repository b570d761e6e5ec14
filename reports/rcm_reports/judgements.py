"""What the scorer of the headline benchmark says of each sample."""

import json
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from rcm_reports.formatting import visible
from rcm_reports.inputs import ReportInput
from rcm_reports.study import Study

State = Literal["right", "wrong", "scored", "unscored", "missing"]
MOST_BOXES = 60
LEAST_SCORE = 0.05
"""Detectors name things they hardly believe in; no rule counts those, and they hide the picture."""


class Judgement(NamedTuple):
    """What the scorer says about one sample.

    Attributes:
        state: Right, wrong, or scored by a number.
        reason: Why, in the scorer's words.
        noted: Boxes as the scorer noted them; ``boxes`` reads them.
        value: The score; NaN where there is none.
    """

    state: State
    reason: str
    noted: Any
    value: float


NOT_JUDGED = Judgement("unscored", "", None, math.nan)


def judgements(report: ReportInput, study: Study) -> dict[str, Judgement]:
    """Return the judgement of every sample that has one, by item."""
    if study.quality is None or not len(report.scores):
        return {}
    mine = report.scores[report.scores["benchmark"] == study.quality.benchmark]
    binary = study.quality.unit in ("accuracy", "fraction", "share")
    nothing = [None] * len(mine)
    reasons = list(mine["reason"]) if "reason" in mine.columns else nothing
    notes = list(mine["details"]) if "details" in mine.columns else nothing
    found: dict[str, Judgement] = {}
    for item, value, reason, raw in zip(
        mine["item_id"], mine["value"], reasons, notes, strict=True
    ):
        details = _details(raw)
        if str(item) not in found or "correct" in details:
            found[str(item)] = _judgement(value, reason, details, binary=binary)
    return found


def _judgement(given: Any, reason: Any, details: Mapping[str, Any], *, binary: bool) -> Judgement:
    value = math.nan if given is None else float(given)
    said = visible(reason.replace("\n", "; "), 300) if isinstance(reason, str) else ""
    noted = details.get("boxes")
    if math.isnan(value):
        return Judgement("unscored", said, noted, value)
    if "correct" in details or binary:
        right = bool(details.get("correct", value >= 0.5))
        return Judgement("right" if right else "wrong", said, noted, value)
    return Judgement("scored", said, noted, value)


def _details(raw: Any) -> Mapping[str, Any]:
    """Return what the scorer noted; a cell that is not a JSON object notes nothing."""
    if isinstance(raw, Mapping):
        return raw
    if not isinstance(raw, str) or not raw:
        return {}
    try:
        parsed = json.loads(raw)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def boxes(raw: Any) -> list[list[Any]]:
    """Return boxes as (x0, y0, x1, y1, score or None, name), in pixels.

    Args:
        raw: What a scorer noted: a list of boxes, or such lists by the name of what was found;
            what is no box, or has a score below ``LEAST_SCORE``, is left out.
    """
    if isinstance(raw, Mapping):
        groups = [(name, each) for name, found in raw.items() for each in _listed(found)]
        raw = [[*each[:4], each[4] if len(each) > 4 else None, name] for name, each in groups]
    found = [_box(box) for box in _listed(raw) if _is_box(box)]
    return [box for box in found if box[4] is None or box[4] >= LEAST_SCORE][:MOST_BOXES]


def _listed(raw: Any) -> list[Any]:
    return [each for each in raw if isinstance(each, list)] if isinstance(raw, list) else []


def _is_box(box: list[Any]) -> bool:
    numbers = len(box) >= 4 and all(isinstance(v, (int, float)) for v in box[:4])
    return numbers and all(math.isfinite(v) for v in box[:4])


def _box(box: list[Any]) -> list[Any]:
    score = box[4] if len(box) > 4 and isinstance(box[4], (int, float)) else None
    name = visible(box[5], 60) if len(box) > 5 else ""
    rounded = [round(float(v), 1) for v in box[:4]]
    known = score is not None and math.isfinite(score)
    return [*rounded, round(float(score), 2) if score is not None and known else None, name]
