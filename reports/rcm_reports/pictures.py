"""Stored samples as the page shows them: a thumbnail, a file beside the page, what scores say."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from rcm_reports.formatting import DASH, known, number, steps_text, visible
from rcm_reports.inputs import ReportInput, records
from rcm_reports.judgements import NOT_JUDGED, Judgement, State, judgements
from rcm_reports.links import gallery_link
from rcm_reports.media import Medium, blob_path, medium
from rcm_reports.mp4 import video_facts
from rcm_reports.study import Cell, Series, Study
from rcm_reports.thumbnails import Thumbnail, thumbnail

MARKS: Mapping[State, str] = {
    "right": "\N{CHECK MARK}",
    "wrong": "\N{BALLOT X}",
    "scored": "",
    "unscored": "?",
    "missing": "",
}
NOTHING = Thumbnail("", 0, 0)
STAND_IN = ".json"
Place = tuple[Cell, str, int]


class Shot(NamedTuple):
    """One sample as the page shows it.

    Attributes:
        number: Its place in the data of the page's script.
        cell: Model, sampler and steps.
        prompt_id: Its prompt.
        seed_index: Its seed.
        thumbnail: The picture inside the page; of a video its poster. Empty if there is none.
        medium: The file beside the page, if there is one.
        state: What the scorer says.
        mark: The state as a sign.
        caption: The state in words.
        judged: Score, reason and boxes.
        sample_key: Name of the sample in the store.
        frames: Frames of a video and frames per second; NaN where they are not known.
        href: Link to the view of this sample.
    """

    number: int
    cell: Cell
    prompt_id: str
    seed_index: int
    thumbnail: Thumbnail
    medium: Medium | None
    state: State
    mark: str
    caption: str
    judged: Judgement
    sample_key: str
    frames: tuple[float, float]
    href: str


@dataclass(frozen=True, kw_only=True)
class Album:
    """All samples of a run by place, and the shots that the page has taken of them.

    Args:
        study: The run.
        run_dir: Folder that blob paths are relative to.
        rows: Samples by (cell, prompt, seed index).
        judged: Judgements by item.
        prompts: Text and task by prompt, in the order of the plan.
        shots: What the page shows so far, in order.
        poster: Gives an image of a video whose row names none.
    """

    study: Study
    run_dir: Path | None
    rows: Mapping[Place, Mapping[str, Any]]
    judged: Mapping[str, Judgement]
    prompts: Mapping[str, tuple[str, str]]
    shots: dict[Place, Shot] = field(default_factory=dict)
    poster: Callable[[Path], Path | None] | None = None

    @cached_property
    def seeds(self) -> list[int]:
        """Return the seed indices that occur, ascending."""
        return sorted({seed for _, _, seed in self.rows})

    @cached_property
    def shown_prompts(self) -> dict[str, tuple[str, str]]:
        """Return the prompts of which there is any sample; all of them where there is none."""
        there = {key[1] for key, row in self.rows.items() if isinstance(row["blob"], str)}
        return {key: value for key, value in self.prompts.items() if key in there or not there}

    def value(self, cell: Cell, prompt_id: str, seed_index: int) -> float:
        """Return the headline score of a sample, or NaN."""
        row = self.rows.get((cell, prompt_id, seed_index))
        return self.judged.get(str(row["item_id"]), NOT_JUDGED).value if row else math.nan

    def take(self, cell: Cell, prompt_id: str, seed_index: int, *, inline: bool = True) -> Shot:
        """Return one sample as the page shows it, and remember that it is shown.

        Args:
            cell: Model, sampler and steps.
            prompt_id: The prompt.
            seed_index: The seed.
            inline: Whether the page itself holds a thumbnail of a sample not taken before.
        """
        place = (cell, prompt_id, seed_index)
        if place not in self.shots:
            self.shots[place] = self._shot(place, inline)
        return self.shots[place]

    def _shot(self, place: Place, inline: bool) -> Shot:
        cell, prompt_id, seed_index = place
        row = self.rows.get(place)
        judged = self.judged.get(str(row["item_id"]), NOT_JUDGED) if row else NOT_JUDGED
        file = medium(blob_path(self.run_dir, row))
        small = self._thumbnail(row, file) if inline else NOTHING
        broken = inline and file is not None and file.kind == "image" and not small.uri
        if broken:
            file = None
        state: State = judged.state if file or _is_stand_in(row) else "missing"
        return Shot(
            number=len(self.shots),
            cell=cell,
            prompt_id=prompt_id,
            seed_index=seed_index,
            thumbnail=small,
            medium=file,
            state=state,
            mark=MARKS[state],
            caption=self._caption(cell, state, judged),
            judged=judged,
            sample_key=visible((row or {}).get("sample_key") or "", 64),
            frames=_frames(row, file),
            href=gallery_link(
                model=cell.series.model,
                sampler=cell.series.sampler,
                steps=cell.steps,
                prompt=prompt_id,
                seed=seed_index,
            ),
        )

    def _thumbnail(self, row: Mapping[str, Any] | None, file: Medium | None) -> Thumbnail:
        if file is None:
            return NOTHING
        image = file.path if file.kind == "image" else blob_path(self.run_dir, row, "poster")
        if image is None and self.poster is not None:
            image = self.poster(file.path)
        return thumbnail(image) or NOTHING

    def _caption(self, cell: Cell, state: State, judged: Judgement) -> str:
        word = {
            "missing": "sample missing",
            "scored": number(judged.value, 3) if known(judged.value) else DASH,
        }.get(state, state)
        reason = f", {judged.reason}" if judged.reason and state != "missing" else ""
        return f"{self.study.label(cell.series)}, {steps_text(cell.steps)}: {word}{reason}"


def album(report: ReportInput, study: Study) -> Album:
    """Index a run's samples and scores."""
    rows: dict[Place, Mapping[str, Any]] = {}
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
        judged=judgements(report, study),
        prompts=prompts,
        poster=report.poster,
    )


def _is_stand_in(row: Mapping[str, Any] | None) -> bool:
    """Say whether scores alone were brought: in place of a picture the store holds them."""
    return str((row or {}).get("blob")).endswith(STAND_IN)


def _frames(row: Mapping[str, Any] | None, file: Medium | None) -> tuple[float, float]:
    """Return frames and frames per second: as the table says, else as the file says."""
    if file is None or file.kind != "video":
        return math.nan, math.nan
    given = [(row or {}).get(name) for name in ("frames", "fps")]
    said = [float(v) if isinstance(v, (int, float)) else math.nan for v in given]
    if all(known(v) and v > 0 for v in said):
        return said[0], said[1]
    facts = video_facts(file.path) if file.path.suffix.lower() == ".mp4" else None
    return (facts.frames, facts.fps) if facts else (math.nan, math.nan)
