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


class Judgement(NamedTuple):
    """What the scorer says about one sample.

    Attributes:
        state: Right, wrong, or scored by a number.
        reason: Why, in the scorer's words.
        noted: Boxes as the scorer noted them; ``boxes`` reads them.
        value: The score; NaN where there is none.
        threshold: Confidence that a box must exceed to count.
    """

    state: State
    reason: str
    noted: Any
    value: float
    threshold: float = -math.inf


class Boxes(NamedTuple):
    """Boxes of a sample.

    Attributes:
        counted: Those that count, as (x0, y0, x1, y1, score or None, name), in pixels.
        more: How many more the scorer noted that do not count.
    """

    counted: list[list[Any]]
    more: int


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
    least = _thresholds(report, study.quality.benchmark)
    for item, value, reason, raw in zip(
        mine["item_id"], mine["value"], reasons, notes, strict=True
    ):
        details = _details(raw)
        if str(item) not in found or "correct" in details:
            judged = _judgement(value, reason, details, binary=binary)
            found[str(item)] = judged._replace(threshold=least.get(str(item), -math.inf))
    return found


def _thresholds(report: ReportInput, benchmark: str) -> dict[str, float]:
    """Return the confidence that counts by item, as the protocol's rules have it for its task."""
    scorer = report.manifest.get("protocol", {}).get("scorers", {}).get(benchmark) or {}
    rules = scorer.get("settings", {}).get("rules", {})
    if "threshold" not in rules or "task" not in report.samples.columns:
        return {}
    return {
        str(item): float(rules.get(f"{task}_threshold", rules["threshold"]))
        for item, task in zip(report.samples["item_id"], report.samples["task"], strict=True)
    }


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


def boxes(raw: Any, threshold: float = -math.inf) -> Boxes:
    """Read boxes, and tell those that count from the rest: detectors name much they doubt.

    Args:
        raw: What a scorer noted: a list of boxes, or such lists by the name of what was found;
            what is no box is left out.
        threshold: Confidence that must be exceeded; a box without one counts.
    """
    if isinstance(raw, Mapping):
        groups = [(name, each) for name, found in raw.items() for each in _listed(found)]
        raw = [[*each[:4], each[4] if len(each) > 4 else None, name] for name, each in groups]
    found = [box for box in _listed(raw) if _is_box(box)]
    counted = [box for box in found if (score := _score(box)) is None or score > threshold]
    return Boxes([_box(box) for box in counted[:MOST_BOXES]], len(found) - len(counted))


def _listed(raw: Any) -> list[Any]:
    return [each for each in raw if isinstance(each, list)] if isinstance(raw, list) else []


def _is_box(box: list[Any]) -> bool:
    numbers = len(box) >= 4 and all(isinstance(v, (int, float)) for v in box[:4])
    return numbers and all(math.isfinite(v) for v in box[:4])


def _score(box: list[Any]) -> float | None:
    given = box[4] if len(box) > 4 and isinstance(box[4], (int, float)) else None
    return float(given) if given is not None and math.isfinite(given) else None


def _box(box: list[Any]) -> list[Any]:
    score = _score(box)
    name = visible(box[5], 60) if len(box) > 5 else ""
    rounded = [round(float(v), 1) for v in box[:4]]
    return [*rounded, None if score is None else round(score, 2), name]
