"""The prompts on which a student falls furthest behind its teacher: how it fails, not how often."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from rcm_reports.formatting import DOT, known, number, steps_text, visible
from rcm_reports.gallery import PROMPT_LENGTH
from rcm_reports.pictures import Album, Shot
from rcm_reports.study import Cell, Series

PER_STUDENT = 3


class Regression(NamedTuple):
    """One prompt as a strip: the teacher, then the student by falling steps, at one seed."""

    prompt: str
    task: str
    seed_index: int
    shots: list[Shot]
    summary: str


class Regressions(NamedTuple):
    """The worst prompts of one student."""

    label: str
    css: str
    strips: list[Regression]


def build_regressions(album: Album) -> list[Regressions]:
    """Return the worst prompts of every student, none where a student never falls behind."""
    study = album.study
    if study.reference is None or study.quality is None:
        return []
    found = []
    for series in study.students:
        cells = list(reversed(study.cells(series)))
        ranked = sorted(
            (
                (_drop(album, cells, prompt), place, prompt)
                for place, prompt in enumerate(album.prompts)
            ),
        )
        worst = [prompt for drop, _, prompt in ranked if drop < 0][:PER_STUDENT]
        if worst:
            strips = [_strip(album, series, cells, prompt) for prompt in worst]
            found.append(Regressions(study.label(series), study.style(series).css, strips))
    return found


def _drop(album: Album, cells: Sequence[Cell], prompt_id: str) -> float:
    """Return the mean difference to the teacher over a student's steps; 0 without data."""
    assert album.study.reference is not None and album.study.quality is not None
    sign = 1 if album.study.quality.higher_is_better else -1
    teacher = _mean(album, album.study.reference, prompt_id)
    drops = [sign * (_mean(album, cell, prompt_id) - teacher) for cell in cells]
    drops = [drop for drop in drops if known(drop)]
    return round(math.fsum(drops) / len(drops), 9) if drops else 0.0


def _values(album: Album, cell: Cell, prompt_id: str) -> list[float]:
    values = [album.value(cell, prompt_id, seed) for seed in album.seeds]
    return [value for value in values if known(value)]


def _mean(album: Album, cell: Cell, prompt_id: str) -> float:
    values = _values(album, cell, prompt_id)
    return math.fsum(values) / len(values) if values else math.nan


def _strip(album: Album, series: Series, cells: Sequence[Cell], prompt_id: str) -> Regression:
    reference = album.study.reference
    assert reference is not None
    seed = _telling_seed(album, reference, cells, prompt_id)
    text, task = album.prompts[prompt_id]
    shots = [album.take(cell, prompt_id, seed) for cell in (reference, *cells)]
    parts = [f"teacher {_tally(album, reference, prompt_id)}"]
    parts += [f"{steps_text(cell.steps)} {_tally(album, cell, prompt_id)}" for cell in cells]
    return Regression(
        visible(text, PROMPT_LENGTH),
        album.study.task_title(task),
        seed,
        shots,
        f"{_what(album, (reference, *cells), prompt_id)}: {f' {DOT} '.join(parts)}",
    )


def _telling_seed(album: Album, reference: Cell, cells: Sequence[Cell], prompt_id: str) -> int:
    """Return the first seed at which the teacher does most better than the student."""
    assert album.study.quality is not None
    sign = 1 if album.study.quality.higher_is_better else -1

    def gap(seed: int) -> float:
        gaps = [
            sign * (album.value(reference, prompt_id, seed) - album.value(cell, prompt_id, seed))
            for cell in cells
        ]
        return math.fsum(gap for gap in gaps if known(gap))

    return max(album.seeds, key=lambda seed: (gap(seed), -seed))


def _what(album: Album, cells: Sequence[Cell], prompt_id: str) -> str:
    """Say what the tallies are: counts of right samples, or means of another score."""
    values = [value for cell in cells for value in _values(album, cell, prompt_id)]
    return "right" if all(value in (0.0, 1.0) for value in values) else "mean score"


def _tally(album: Album, cell: Cell, prompt_id: str) -> str:
    values = _values(album, cell, prompt_id)
    if values and all(value in (0.0, 1.0) for value in values):
        return f"{round(sum(values))}/{len(values)}"
    return number(_mean(album, cell, prompt_id), 3)
