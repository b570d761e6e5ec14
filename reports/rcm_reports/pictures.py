"""Stored samples as inlined thumbnails, and what the scores say about each."""

import base64
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from PIL import Image, UnidentifiedImageError

from rcm_reports.formatting import number, visible
from rcm_reports.inputs import ReportInput, records
from rcm_reports.study import Cell, Series, Study

State = Literal["right", "wrong", "scored", "unscored", "missing", "video"]
JUDGED = frozenset({"right", "wrong", "scored", "unscored"})
VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".mkv", ".mov", ".avi"})
PIXEL_ART_SIDE = 96
THUMBNAIL_SIDE = 128
MARKS: Mapping[State, str] = {
    "right": "\N{CHECK MARK}",
    "wrong": "\N{BALLOT X}",
    "scored": "",
    "unscored": "?",
    "missing": "",
    "video": "",
}


class Judgement(NamedTuple):
    """What the scorer of the headline benchmark says about one sample."""

    state: State
    reason: str
    boxes: list[list[Any]]
    value: float


class Shot(NamedTuple):
    """One sample as the page shows it."""

    number: int
    cell: Cell
    prompt_id: str
    seed_index: int
    uri: str
    width: int
    height: int
    state: State
    mark: str
    caption: str
    boxes: list[list[Any]]
    sample_key: str


class Thumbnail(NamedTuple):
    """An image as a data URI with the size of the original."""

    uri: str
    width: int
    height: int


NOT_JUDGED = Judgement("unscored", "", [], math.nan)


@dataclass(frozen=True, kw_only=True, slots=True)
class Album:
    """All samples of a run by place, and the shots that the page has taken of them.

    Args:
        study: The run.
        run_dir: Folder that blob paths are relative to.
        rows: Samples by (cell, prompt, seed index).
        judged: Judgements by item.
        prompts: Text and task by prompt, in the order of the plan.
        shots: What the page shows so far, in order.
        cache: Thumbnails by blob.
    """

    study: Study
    run_dir: Path
    rows: Mapping[tuple[Cell, str, int], Mapping[str, Any]]
    judged: Mapping[str, Judgement]
    prompts: Mapping[str, tuple[str, str]]
    shots: list[Shot] = field(default_factory=list)
    cache: dict[str, Thumbnail | None] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """Return the seed indices that occur, ascending."""
        return sorted({seed for _, _, seed in self.rows})

    def shown_prompts(self) -> dict[str, tuple[str, str]]:
        """Return the prompts of which there is any sample; all of them where there is none."""
        there = {key[1] for key, row in self.rows.items() if isinstance(row["blob"], str)}
        return {key: value for key, value in self.prompts.items() if key in there or not there}

    def value(self, cell: Cell, prompt_id: str, seed_index: int) -> float:
        """Return the headline score of a sample, or NaN."""
        row = self.rows.get((cell, prompt_id, seed_index))
        return self.judged.get(str(row["item_id"]), NOT_JUDGED).value if row else math.nan

    def take(self, cell: Cell, prompt_id: str, seed_index: int) -> Shot:
        """Return one sample as the page shows it, and remember that it is shown."""
        row = self.rows.get((cell, prompt_id, seed_index))
        judged = self.judged.get(str(row["item_id"]), NOT_JUDGED) if row else NOT_JUDGED
        thumbnail, state = self._load(row, judged.state)
        place = (
            f"{self.study.label(cell.series)}, {cell.steps} step{'' if cell.steps == 1 else 's'}"
        )
        word = {"missing": "sample missing", "video": "video, not shown yet"}.get(state, state)
        reason = f", {judged.reason}" if judged.reason and state in JUDGED else ""
        if state == "scored":
            word = number(judged.value, 3)
        shot = Shot(
            len(self.shots),
            cell,
            prompt_id,
            seed_index,
            thumbnail.uri,
            thumbnail.width,
            thumbnail.height,
            state,
            MARKS[state],
            f"{place}: {word}{reason}",
            judged.boxes,
            visible((row or {}).get("sample_key") or "", 64),
        )
        self.shots.append(shot)
        return shot

    def _load(self, row: Mapping[str, Any] | None, state: State) -> tuple[Thumbnail, State]:
        nothing = Thumbnail("", 0, 0)
        blob = (row or {}).get("blob")
        if not isinstance(blob, str) or not blob:
            return nothing, "missing"
        if PurePosixPath(blob).suffix.lower() in VIDEO_SUFFIXES:
            return nothing, "video"
        if blob not in self.cache:
            self.cache[blob] = thumbnail(self.run_dir, blob)
        found = self.cache[blob]
        return (found, state) if found else (nothing, "missing")


def album(report: ReportInput, study: Study) -> Album:
    """Index a run's samples and scores."""
    rows: dict[tuple[Cell, str, int], Mapping[str, Any]] = {}
    prompts: dict[str, tuple[str, str]] = {}
    for row in records(report.samples):
        cell = Cell(Series(str(row["model"]), str(row["sampler"])), int(row["steps"]))
        prompt_id = str(row["prompt_id"])
        rows[cell, prompt_id, int(row["seed_index"])] = row
        prompts.setdefault(prompt_id, (str(row["prompt"]), str(row.get("task") or "")))
    return Album(
        study=study,
        run_dir=report.run_dir,
        rows=rows,
        judged=_judgements(report, study),
        prompts=prompts,
    )


def thumbnail(run_dir: Path, blob: str) -> Thumbnail | None:
    """Return a stored image as a data URI: lossless up to 96 px, else smaller; None if broken."""
    root = run_dir.resolve()
    path = (root / blob).resolve()
    if not path.is_relative_to(root):
        return None
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    width, height = image.size
    buffer = io.BytesIO()
    if max(width, height) > PIXEL_ART_SIDE:
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
        image.save(buffer, "WEBP", quality=82, method=2)
    else:
        image.save(buffer, "WEBP", lossless=True, quality=60, method=2, exact=True)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(f"data:image/webp;base64,{encoded}", width, height)


def _judgements(report: ReportInput, study: Study) -> dict[str, Judgement]:
    if study.quality is None or not len(report.scores):
        return {}
    mine = report.scores[report.scores["benchmark"] == study.quality.benchmark]
    binary = study.quality.unit in ("accuracy", "fraction", "share")
    found: dict[str, Judgement] = {}
    for row in records(mine):
        item, details = str(row["item_id"]), _details(row.get("details"))
        if item not in found or "correct" in details:
            found[item] = _judgement(row, details, binary=binary)
    return found


def _judgement(row: Mapping[str, Any], details: Mapping[str, Any], *, binary: bool) -> Judgement:
    value = row["value"]
    value = math.nan if value is None else float(value)
    given = row.get("reason")
    reason = visible(given, 300) if isinstance(given, str) and given else ""
    boxes = [_box(box) for box in details.get("boxes", []) if _is_box(box)]
    if math.isnan(value):
        return Judgement("unscored", reason, boxes, value)
    if "correct" in details or binary:
        right = bool(details.get("correct", value >= 0.5))
        return Judgement("right" if right else "wrong", reason, boxes, value)
    return Judgement("scored", reason, boxes, value)


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


def _is_box(box: Any) -> bool:
    numbers = (
        isinstance(box, list)
        and len(box) >= 4
        and all(isinstance(v, (int, float)) for v in box[:4])
    )
    return numbers and all(math.isfinite(v) for v in box[:4])


def _box(box: list[Any]) -> list[Any]:
    score = box[4] if len(box) > 4 and isinstance(box[4], (int, float)) else None
    name = visible(box[5], 60) if len(box) > 5 else ""
    return [
        *(round(float(v), 1) for v in box[:4]),
        None if score is None else round(float(score), 2),
        name,
    ]
