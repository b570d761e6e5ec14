"""What the page's script needs to know of the samples, as JSON."""

import json
from typing import Any

from rcm_reports.formatting import count, known, plural, visible
from rcm_reports.gallery import column_groups, round_robin
from rcm_reports.judgements import boxes
from rcm_reports.pictures import Album, Shot
from rcm_reports.study import Cell

MAX_SAMPLES = 12_000
PROMPT_LENGTH = 600
KEY_LENGTH = 12
STATES = ("right", "wrong", "scored", "unscored", "missing")


def take_samples(album: Album) -> str:
    """Take whole prompts, every task in turn, until the page holds enough; say how many.

    Nothing is picked by its result. Prompts that are on the page already stay on it.
    """
    cells = [cell for group in column_groups(album.study) for cell in group.cells]
    taken = 0
    for prompt_id in round_robin(album.shown_prompts):
        places = [(cell, prompt_id, seed) for cell in cells for seed in album.seeds]
        places = [place for place in places if place in album.rows]
        if taken and taken + len(places) > MAX_SAMPLES:
            break
        taken += len(places)
        for place in places:
            album.take(*place, inline=False)
    shown = sum(place in album.rows for place in album.shots)
    if not album.rows:
        return ""
    if shown == len(album.rows):
        return f"The viewer holds all {plural(shown, 'sample')}."
    return (
        f"The viewer holds {count(shown)} of {plural(len(album.rows), 'sample')}: whole prompts, "
        "the first of each task in turn, not picked by result, and those that the page shows "
        "elsewhere. The scores are of all samples."
    )


def gallery_json(album: Album) -> str:
    """Return all shots of the album as JSON, ordered by their number."""
    study = album.study
    columns = [cell for group in column_groups(study) for cell in group.cells]
    columns += sorted({place[0] for place in album.shots} - set(columns))
    wanted = dict.fromkeys(place[1] for place in album.shots)
    prompts = [prompt_id for prompt_id in album.prompts if prompt_id in wanted]
    tasks = list(dict.fromkeys(album.prompts[prompt_id][1] for prompt_id in prompts))
    place_of = {cell: place for place, cell in enumerate(columns)}
    prompt_of = {prompt_id: place for place, prompt_id in enumerate(prompts)}
    reasons: dict[str, int] = {"": 0}
    quality = study.quality
    data = {
        "columns": [_column(album, cell) for cell in columns],
        "reference": place_of.get(study.reference, -1) if study.reference else -1,
        "higher": quality is None or quality.higher_is_better,
        "score": quality.full_title if quality else "",
        "tasks": [[_linked(task), study.task_title(task)] for task in tasks],
        "prompts": [
            [_linked(prompt_id), visible(text, PROMPT_LENGTH), tasks.index(task)]
            for prompt_id in prompts
            for text, task in (album.prompts[prompt_id],)
        ],
        "total": len(album.prompts),
        "states": STATES,
        "samples": [
            _sample(shot, place_of[shot.cell], prompt_of[shot.prompt_id], reasons)
            for shot in album.shots.values()
        ],
        "reasons": list(reasons),
    }
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _column(album: Album, cell: Cell) -> dict[str, Any]:
    series = cell.series
    return {
        "model": _linked(series.model),
        "sampler": _linked(series.sampler),
        "steps": cell.steps,
        "label": album.study.label(series),
        "css": album.study.style(series).css,
    }


def _linked(name: str) -> str:
    """Return a name as a link holds it: lone surrogates, which have no UTF-8, are escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _sample(shot: Shot, column: int, prompt: int, reasons: dict[str, int]) -> list[Any]:
    """Return one sample; trailing zeros are left out.

    In order: column, prompt, seed, state, file, reason, score, width, height, key in the store,
    boxes that count, how many more there are, frames, frames per second; 0 stands for what is not
    there.
    """
    judged = shot.judged
    row = [
        column,
        prompt,
        shot.seed_index,
        STATES.index(shot.state),
        shot.medium.name if shot.medium else 0,
        reasons.setdefault(judged.reason, len(reasons)),
        round(judged.value, 6) if known(judged.value) else None,
        shot.thumbnail.width,
        shot.thumbnail.height,
        shot.sample_key[:KEY_LENGTH],
        *(boxes(judged.noted, judged.threshold) if shot.medium else (0, 0)),
        *(round(value, 6) if known(value) else 0 for value in shot.frames),
    ]
    while row[-1] == 0 and row[-1] is not None:
        row.pop()
    return row
