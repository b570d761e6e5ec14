"""The samples inside the page: one prompt and seed in a row, models and steps side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rcm_reports.formatting import count, plural, visible
from rcm_reports.pictures import Album, Shot
from rcm_reports.study import Cell, Study

FIRST_ROWS_PER_TASK = 2
MAX_CELLS = 1600
MAX_BYTES = 3_300_000
PROMPT_LENGTH = 240


class Row(NamedTuple):
    """One prompt at one seed."""

    prompt: str
    task: str
    shots: list[Shot]


class Group(NamedTuple):
    """The columns of one line, most steps first."""

    label: str
    css: str
    cells: list[Cell]


class Strip(NamedTuple):
    """All seeds of one prompt, for one line at one number of steps."""

    cell: Cell
    shots: list[Shot]


class Spread(NamedTuple):
    """One prompt with all its seeds: what a model leaves to chance can be seen."""

    prompt: str
    task: str
    groups: list[tuple[Group, list[Strip]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """The sample grid.

    Args:
        groups: Columns.
        first: Rows that are open from the start: the first of each task, not picked by result.
        more: The other rows.
        tasks: Tasks that occur.
        note: How much of the run is shown.
        warnings: What is missing among the samples that are shown.
    """

    groups: list[Group]
    first: list[Row]
    more: list[Row]
    tasks: list[str]
    note: str
    warnings: list[str]


def column_groups(study: Study) -> list[Group]:
    """Return the columns: the reference before its own fewer steps, then every other line."""
    groups = []
    if study.reference is not None:
        first = study.reference.series
        style = study.style(first).css
        fewer = [cell for cell in reversed(study.cells(first)) if cell != study.reference]
        groups.append(Group(study.label(first), style, [study.reference, *fewer]))
    for series in study.series:
        cells = list(reversed(study.cells(series)))
        if cells and (study.reference is None or series != study.reference.series):
            groups.append(Group(study.label(series), study.style(series).css, cells))
    return groups


def build_gallery(album: Album) -> Gallery:
    """Choose and load the sample grid, within what a page can carry."""
    groups = column_groups(album.study)
    cells = [cell for group in groups for cell in group.cells]
    seeds = album.seeds
    rows: dict[str, Row] = {}
    used = 0
    for prompt_id in round_robin(album.shown_prompts):
        if not cells or used > MAX_BYTES or (len(rows) + 1) * len(cells) > MAX_CELLS:
            break
        text, task = album.prompts[prompt_id]
        shots = [album.take(cell, prompt_id, seeds[0]) for cell in cells]
        used += sum(len(shot.thumbnail.uri) for shot in shots)
        rows[prompt_id] = Row(visible(text, PROMPT_LENGTH), album.study.task_title(task), shots)
    wanted = dict.fromkeys(task for _, task in album.prompts.values())
    tasks = [album.study.task_title(task) for task in wanted]
    first, more = _split(list(rows.values()), tasks)
    return Gallery(
        groups=groups,
        first=first,
        more=more,
        tasks=sorted(
            {row.task for row in rows.values() if row.task},
            key=tasks.index,
        ),
        note=_note(album, len(rows), len(cells)),
        warnings=_warnings([shot for row in rows.values() for shot in row.shots]),
    )


def build_spread(album: Album) -> Spread | None:
    """Return the shortest prompt with all its seeds; None where there is only one seed."""
    seeds = album.seeds[:4]
    prompts = album.shown_prompts
    if len(seeds) < 2 or not prompts:
        return None
    prompt_id, (text, task) = min(prompts.items(), key=lambda item: len(item[1][0]))
    groups = []
    for group in column_groups(album.study):
        strips = [
            Strip(cell, [album.take(cell, prompt_id, seed) for seed in seeds])
            for cell in group.cells
        ]
        groups.append((group, strips))
    return Spread(visible(text, PROMPT_LENGTH), album.study.task_title(task), groups)


def round_robin(prompts: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Yield prompts so that any beginning of the list holds every task about equally often."""
    by_task: dict[str, list[str]] = {}
    for prompt_id, (_, task) in prompts.items():
        by_task.setdefault(task, []).append(prompt_id)
    for turn in range(max(map(len, by_task.values()), default=0)):
        for members in by_task.values():
            if turn < len(members):
                yield members[turn]


def _split(rows: Sequence[Row], tasks: Sequence[str]) -> tuple[list[Row], list[Row]]:
    first: list[Row] = []
    more: list[Row] = []
    for task in dict.fromkeys(tasks):
        mine = [row for row in rows if row.task == task]
        first += mine[:FIRST_ROWS_PER_TASK]
        more += mine[FIRST_ROWS_PER_TASK:]
    return first, more


def _note(album: Album, num_rows: int, num_cells: int) -> str:
    if not album.rows:
        return "This run holds no samples."
    seeds = album.seeds
    return (
        f"Inside this page: {num_rows} of {plural(len(album.prompts), 'prompt')} "
        f"at seed {seeds[0] + 1} of {len(seeds)}, "
        f"that is {count(num_rows * num_cells)} of {plural(len(album.rows), 'sample')}. "
        "The open rows are the first of each task, not picked by result."
    )


def _warnings(shots: Sequence[Shot]) -> list[str]:
    missing = sum(shot.state == "missing" for shot in shots)
    bare = sum(shot.medium is None and shot.state != "missing" for shot in shots)
    said = [f"{plural(bare, 'sample')} came as scores alone, without pictures."] if bare else []
    if not missing:
        return said
    return [
        *said,
        f"{plural(missing, 'sample')} in this grid cannot be shown: "
        "not made, or the file is not there.",
    ]
