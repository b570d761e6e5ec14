"""GenEval's result files: JSON lines as its evaluation script writes and its summary script reads.

One row an image, with the keys ``filename, tag, prompt, correct, reason, metadata, details``; the
last two are JSON inside a string. Reading is strict, because a row that is skipped would change a
score without a word.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcm_bench.errors import UserError, unknown
from rcm_bench.geneval_prompts import COLORS, NAMES, RELATIONS
from rcm_bench.geneval_rules import TASKS
from rcm_bench.text_files import read_text

KEYS = ("filename", "tag", "prompt", "correct", "reason", "metadata", "details")
_BOX = 5
_MAX_SHOWN = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultRow:
    """The verdict on one image.

    Args:
        filename: Path of the image as the evaluation saw it.
        tag: Task of the prompt.
        prompt: The prompt.
        correct: The verdict.
        reason: One line for each clause that fails; empty when correct.
        metadata: The prompt's record, as in ``evaluation_metadata.jsonl``.
        details: ``{class: [[x0, y0, x1, y1, score], ...]}`` of the detections that counted.
        line: Line of the file that the row was read from; 0 where it was not read.
    """

    filename: str
    tag: str
    prompt: str
    correct: bool
    reason: str
    metadata: Mapping[str, Any]
    details: Mapping[str, list[list[float]]]
    line: int = 0


def read_results(path: str | Path) -> list[ResultRow]:
    """Read a result file.

    Raises:
        UserError: The file is missing, empty or no UTF-8, or a row is not what the evaluation
            script writes; the message names file and line.
    """
    path = Path(path)
    text = read_text(path)
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    rows = [_row(line, n, f"{path}:{n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise UserError(f"{path}: holds no results")
    first: dict[str, int] = {}
    for row in rows:
        if (known := first.setdefault(row.filename, row.line)) != row.line:
            raise UserError(
                f"{path}:{row.line}: filename {_show(row.filename)} stands on line {known} already"
            )
    return rows


def results_text(rows: Iterable[ResultRow]) -> str:
    """Return a result file's text; classes stand in the detector's order, as upstream."""
    return "".join(_spelled(row) + "\n" for row in rows)


def _spelled(row: ResultRow) -> str:
    order = {name: place for place, name in enumerate(NAMES)}
    classes = sorted(row.details, key=lambda name: (order.get(name, len(order)), name))
    whole = {
        "filename": row.filename,
        "tag": row.tag,
        "prompt": row.prompt,
        "correct": row.correct,
        "reason": row.reason,
        "metadata": json.dumps(dict(row.metadata)),
        "details": json.dumps({name: row.details[name] for name in classes}),
    }
    return json.dumps(whole, separators=(",", ":"))


def check_metadata(record: Any, where: str) -> None:
    """Refuse what is no record of a GenEval prompt.

    Args:
        record: What should be ``{"tag", "include", ["exclude"], "prompt"}``.
        where: File and line, for messages.

    Raises:
        UserError: A key is missing, unknown, or of another kind.
    """
    _mapping(record, where, required=("tag", "include", "prompt"), optional=("exclude",))
    if record["tag"] not in TASKS:
        raise UserError(f"{where}: tag: {unknown('task', str(record['tag']), TASKS)}")
    if not isinstance(record["prompt"], str) or not record["prompt"].strip():
        raise UserError(f"{where}: prompt: expected text, got {_show(record['prompt'])}")
    for key in ("include", "exclude"):
        clauses = record.get(key, [])
        if not isinstance(clauses, list) or (key == "include" and not clauses):
            raise UserError(f"{where}: {key}: expected a list of clauses, got {_show(clauses)}")
        for place, clause in enumerate(clauses):
            _check_clause(clause, place, f"{where}: {key}[{place}]", include=key == "include")


def _check_clause(clause: Any, place: int, where: str, *, include: bool) -> None:
    optional = ("color", "position") if include else ()
    _mapping(clause, where, required=("class", "count"), optional=optional)
    if not isinstance(clause["class"], str):
        raise UserError(f"{where}.class: expected text, got {_show(clause['class'])}")
    count = clause["count"]
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise UserError(f"{where}.count: expected a number from 1 on, got {_show(count)}")
    if "color" in clause and clause["color"] not in COLORS:
        raise UserError(f"{where}.color: {unknown('colour', str(clause['color']), COLORS)}")
    if "position" in clause:
        _check_position(clause["position"], place, f"{where}.position")


def _check_position(position: Any, place: int, where: str) -> None:
    if not isinstance(position, list) or len(position) != 2:
        raise UserError(f"{where}: expected [relation, clause], got {_show(position)}")
    relation, target = position
    if relation not in RELATIONS:
        raise UserError(f"{where}: {unknown('relation', str(relation), RELATIONS)}")
    if not isinstance(target, int) or isinstance(target, bool) or not 0 <= target < place:
        raise UserError(
            f"{where}: expected the index of an earlier clause (0 to {place - 1}), "
            f"got {_show(target)}"
        )


def _row(line: str, number: int, where: str) -> ResultRow:
    row = _parsed(line, where)
    _mapping(row, where, required=KEYS)
    for key in ("filename", "tag", "prompt", "reason", "metadata", "details"):
        if not isinstance(row[key], str):
            raise UserError(f"{where}: {key}: expected text, got {_show(row[key])}")
    if not isinstance(row["correct"], bool):
        raise UserError(f"{where}: correct: expected true or false, got {_show(row['correct'])}")
    if row["correct"] == bool(row["reason"]):
        said = "true, and yet a reason" if row["correct"] else "false, and no reason"
        raise UserError(f"{where}: correct is {said} ({_show(row['reason'])})")
    metadata = _parsed(row["metadata"], f"{where}: metadata")
    check_metadata(metadata, f"{where}: metadata")
    for key in ("tag", "prompt"):
        if metadata[key] != row[key]:
            raise UserError(
                f"{where}: {key} is {_show(row[key])}, but {_show(metadata[key])} in metadata"
            )
    details = _parsed(row["details"], f"{where}: details")
    _check_details(details, f"{where}: details")
    kept = {key: row[key] for key in ("filename", "tag", "prompt", "correct", "reason")}
    return ResultRow(**kept, metadata=metadata, details=details, line=number)


def _check_details(details: Any, where: str) -> None:
    if not isinstance(details, dict):
        raise UserError(f"{where}: expected boxes by class, got {_show(details)}")
    for name, boxes in details.items():
        if not isinstance(boxes, list):
            raise UserError(f"{where}: {_show(name)}: expected a list of boxes")
        for box in boxes:
            if not isinstance(box, list) or len(box) != _BOX or not all(map(_is_number, box)):
                raise UserError(
                    f"{where}: {_show(name)}: expected [x0, y0, x1, y1, score], got {_show(box)}"
                )


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _mapping(value: Any, where: str, *, required: tuple[str, ...], optional: Any = ()) -> None:
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a JSON object, got {_show(value)}")
    for key in value:
        if key not in required and key not in optional:
            raise UserError(f"{where}: {unknown('key', key, (*required, *optional))}")
    for key in required:
        if key not in value:
            raise UserError(f"{where}: key '{key}' is missing")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _unique(where: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise UserError(f"{where}: a key stands twice in one object")
        return found

    return build


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique(where))
    except (ValueError, RecursionError) as fault:
        raise UserError(f"{where}: expected JSON: {fault}") from None


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text.encode("unicode_escape").decode("ascii")
    return repr(text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}...")
