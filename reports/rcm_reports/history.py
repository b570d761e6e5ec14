"""One suite over time as one static page: each headline against its runs, and what changed."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
from markupsafe import Markup

from rcm_reports.formatting import interval, known, number, plural, signed, steps_text, visible
from rcm_reports.history_chart import Course, Spot, history_chart
from rcm_reports.inputs import records
from rcm_reports.live import ENVIRONMENT, asset, put
from rcm_reports.palette import Style, style_of
from rcm_reports.study import Metric, metrics_of

MAX_NAMED = 3
Kind = Literal["same", "level", "better", "worse", "untested"]
Key = tuple[str, str, str, int]
WORDS: Mapping[str, str] = {
    "same": "the same samples",
    "level": "level",
    "better": "better",
    "worse": "worse",
    "untested": "too few prompts to tell",
}


class Change(NamedTuple):
    """How a number differs from the run before, and whether that is more than chance."""

    kind: Kind
    difference: float
    low: float
    high: float
    paired: bool = True


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HistoryRun:
    """One run of the suite.

    Args:
        name: Short name, such as its folder's.
        manifest: Its receipt.
        measurements: Its table of measurements.
        changes: How it differs from the run before, by (metric key, model, sampler, steps); a
            number that is not there was not compared.
        notes: What changed before it, in words.
        since_first: How the last run differs from the first, where there are others between.
    """

    name: str
    manifest: Mapping[str, Any]
    measurements: pd.DataFrame
    changes: Mapping[Key, Change]
    notes: Sequence[str]
    since_first: Mapping[Key, Change]


class Mark(NamedTuple):
    """One cell of the table."""

    value: str
    around: str
    kind: str
    said: str


class Line(NamedTuple):
    """One model at one number of steps through all runs."""

    label: str
    steps: int
    css: str
    marks: list[Mark | None]


class Part(NamedTuple):
    """One headline metric."""

    ident: str
    title: str
    about: str
    charts: list[Markup]
    lines: list[Line]


def render_history(runs: Sequence[HistoryRun], folder: Path) -> Path:
    """Write the history of a suite; the same input gives the same bytes.

    Args:
        runs: At least two runs, the oldest first.
        folder: Gets an ``index.html``.
    """
    style = asset("style.css") + asset("extra.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    metrics = [m for m in metrics_of(runs[-1].manifest, []) if m.headline]
    parts = [part for place, metric in enumerate(metrics) if (part := _part(runs, metric, place))]
    suite = (runs[-1].manifest.get("suite") or {}).get("suite") or "suite"
    page = ENVIRONMENT.get_template("history.html.jinja").render(
        suite=visible(suite, 120),
        verdict=_verdict(runs, metrics),
        parts=parts,
        runs=[_head(run) for run in runs],
        lost=_lost(runs),
        style=Markup(style),  # noqa: S704
        csp=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'",
    )
    return put(page, folder)


def _head(run: HistoryRun) -> dict[str, Any]:
    commit = (run.manifest.get("environment") or {}).get("commit")
    return {
        "name": visible(run.name, 60),
        "date": _date(run),
        "commit": visible(commit, 12).split("\N{HORIZONTAL ELLIPSIS}")[0] if commit else "",
        "protocol": visible(run.manifest.get("protocol_fingerprint") or "", 20),
        "notes": [visible(note, 300) for note in run.notes],
    }


def _date(run: HistoryRun) -> str:
    return visible(str(run.manifest.get("created") or "")[:16].replace("T", " "), 40)


def _lost(runs: Sequence[HistoryRun]) -> list[str]:
    """Say which runs could not be compared with the one before."""
    return [
        f"{visible(run.name, 60)} ({_date(run)}) is not compared with the run before: "
        "the protocols differ (see below)."
        for run in runs[1:]
        if not run.changes
    ]


def _verdict(runs: Sequence[HistoryRun], metrics: Sequence[Metric]) -> str:
    """Say what the last run made worse or better, and how it stands to the first."""
    titles = {metric.key: metric.full_title for metric in metrics}
    last, first = (
        {key: change for key, change in changes.items() if key[0] in titles}
        for changes in (runs[-1].changes, runs[-1].since_first)
    )
    if not last:
        said = ["The last run is not compared with the one before: their protocols differ."]
    else:
        said = _moved(last, titles, "than the run before") or [_nothing(last)]
    return " ".join(said + _moved(first, titles, f"than on {_date(runs[0])[:10]}"))


def _moved(changes: Mapping[Key, Change], titles: Mapping[str, str], than: str) -> list[str]:
    """Return a sentence on what is worse and one on what is better, where there is any."""
    said = []
    for kind in ("worse", "better"):
        hits = [
            f"{visible(model, 60)} at {steps_text(steps)} in {titles[metric]} "
            f"({signed(change.difference, 3)} {interval(change.low, change.high, 3, sign=True)})"
            for (metric, model, _, steps), change in changes.items()
            if change.kind == kind
        ]
        more = f" and {len(hits) - MAX_NAMED} more" if len(hits) > MAX_NAMED else ""
        if hits:
            said.append(f"{kind.capitalize()} {than}: {'; '.join(hits[:MAX_NAMED])}{more}.")
    return said


def _nothing(changes: Mapping[Key, Change]) -> str:
    tested = sum(change.kind == "level" for change in changes.values())
    same = sum(change.kind == "same" for change in changes.values())
    unknown = sum(change.kind == "untested" for change in changes.values())
    parts = [f"{plural(tested, 'number')} tested"] * bool(tested)
    parts += [f"{plural(same, 'number')} on the very same samples"] * bool(same)
    parts += [f"{plural(unknown, 'number')} with too few prompts to tell"] * bool(unknown)
    return f"Nothing got worse or better in the last run by more than chance: {', '.join(parts)}."


def _part(runs: Sequence[HistoryRun], metric: Metric, place: int) -> Part | None:
    tables = [_values(run, metric) for run in runs]
    cells = list(dict.fromkeys(cell for table in tables for cell in table))
    if not cells:
        return None
    names = list(dict.fromkeys(model for model, _, _ in cells))
    declared = list(runs[-1].manifest.get("models") or {})
    names.sort(key=lambda name: declared.index(name) if name in declared else len(declared))
    styles = {name: style_of(index) for index, name in enumerate(names)}
    cells.sort(key=lambda cell: (names.index(cell[0]), cell[1], -cell[2]))
    decimals = 3
    lines = [
        Line(
            _label(cells, cell),
            cell[2],
            styles[cell[0]].css,
            [
                _mark(run, table, metric, cell, decimals)
                for run, table in zip(runs, tables, strict=True)
            ],
        )
        for cell in cells
    ]
    charts = [
        history_chart(
            f"history-{place}-{steps}",
            f"{metric.full_title} at {steps_text(steps)}",
            [_date(run)[:10] for run in runs],
            _courses(runs, tables, metric, [c for c in cells if c[2] == steps], styles),
        )
        for steps in sorted({steps for _, _, steps in cells})
    ]
    title = f"{metric.full_title}{f' ({metric.unit})' if metric.unit else ''}"
    return Part(f"part-{place}", title, metric.about, charts, lines)


def _label(cells: Sequence[tuple[str, str, int]], cell: tuple[str, str, int]) -> str:
    samplers = {sampler for model, sampler, _ in cells if model == cell[0]}
    name = visible(cell[0], 60)
    return name if len(samplers) == 1 else f"{name} ({visible(cell[1], 40)})"


def _values(
    run: HistoryRun, metric: Metric
) -> dict[tuple[str, str, int], tuple[float, float, float]]:
    found = {}
    for row in records(run.measurements):
        mine = (row["benchmark"], row["metric"]) == (metric.benchmark, metric.name)
        if mine and known(row["value"]):
            cell = (str(row["model"]), str(row["sampler"]), int(row["steps"]))
            found[cell] = (float(row["value"]), float(row["low"]), float(row["high"]))
    return found


def _mark(
    run: HistoryRun,
    table: Mapping[tuple[str, str, int], tuple[float, float, float]],
    metric: Metric,
    cell: tuple[str, str, int],
    decimals: int,
) -> Mark | None:
    if cell not in table:
        return None
    value, low, high = table[cell]
    change = run.changes.get((metric.key, *cell))
    said, kind = "", "start"
    if change is not None:
        kind = change.kind
        said = WORDS[kind]
        if kind not in ("same", "untested"):
            around = interval(change.low, change.high, decimals, sign=True)
            said = f"{said}: {signed(change.difference, decimals)} {around}"
            said += "" if change.paired else ", other prompts"
    return Mark(number(value, decimals), interval(low, high, decimals), kind, said)


def _courses(
    runs: Sequence[HistoryRun],
    tables: Sequence[Mapping[tuple[str, str, int], tuple[float, float, float]]],
    metric: Metric,
    cells: Sequence[tuple[str, str, int]],
    styles: Mapping[str, Style],
) -> list[Course]:
    courses = []
    for cell in cells:
        spots: list[Spot] = []
        for place, (run, table) in enumerate(zip(runs, tables, strict=True)):
            if cell not in table:
                continue
            change = run.changes.get((metric.key, *cell))
            joined = change is not None
            tip = f"{visible(cell[0], 60)}, {_date(run)}: {number(table[cell][0], 3)} "
            tip += interval(table[cell][1], table[cell][2], 3)
            tip += f", {WORDS[change.kind]}" if change else ""
            spots.append(Spot(place, *table[cell], change.kind if change else "none", joined, tip))
        courses.append(Course(_label(cells, cell), styles[cell[0]], spots))
    return courses
