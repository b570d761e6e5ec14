"""The table of models by steps, cell by cell: value, interval, difference, tie or not."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from rcm_reports.formatting import (
    DASH,
    NBSP,
    decimals_for,
    duration,
    half_interval,
    interval,
    known,
    number,
    plural,
    signed,
    steps_text,
)
from rcm_reports.published import PublishedLine
from rcm_reports.study import TIME_BENCHMARKS, Cell, Metric, Study, Value, benchmark_title

Standing = Literal[
    "reference", "tie", "better", "worse", "untestable", "untested", "absent", "published"
]
RIGHT_OR_WRONG = ("accuracy", "fraction", "share")


class Entry(NamedTuple):
    """One cell of a table; ``link`` leads to its samples, ``lost`` to those behind its loss."""

    value: str
    half: str
    interval: str
    difference: str
    standing: Standing
    remark: str
    link: str = ""
    lost: str = ""


class TableRow(NamedTuple):
    """One row: its head, the class of its colour, its cells."""

    head: str
    sub: str
    css: str
    entries: list[Entry]


class ScoreTable(NamedTuple):
    """A table with a caption."""

    caption: str
    columns: list[str]
    rows: list[TableRow]


class Section(NamedTuple):
    """One benchmark: its headline by models and steps, then all its metrics by configuration."""

    ident: str
    title: str
    about: str
    main: ScoreTable | None
    parts: ScoreTable | None
    published: list[PublishedLine]


ABSENT = Entry(DASH, "", "", "", "absent", "not run")


def benchmark_sections(study: Study) -> list[Section]:
    """Return one section for each benchmark that has measurements, times left out."""
    names = dict.fromkeys(metric.benchmark for metric in study.metrics)
    sections = []
    for place, name in enumerate(name for name in names if name not in TIME_BENCHMARKS):
        metrics = [m for m in study.metrics if m.benchmark == name and study.measured(m)]
        head = next((metric for metric in metrics if metric.headline), None)
        main = _main_table(study, head) if head else None
        # Other headlines first: VBench's dynamic degree is read beside its Total.
        rest = sorted((m for m in metrics if m != head), key=lambda metric: not metric.headline)
        parts = _parts_table(study, rest) if rest else None
        about = head.about if head else ""
        if not metrics:
            continue
        sections.append(
            Section(
                *(f"benchmark-{place + 1}", benchmark_title(name), about, main, parts),
                [line for line in study.published if line.benchmark == name],
            )
        )
    return sections


def reference_name(study: Study) -> str:
    """Return what the differences are differences to."""
    if study.reference is None:
        return "the reference"
    return f"{study.label(study.reference.series)} at {steps_text(study.reference.steps)}"


def links(sections: Iterable[Section]) -> list[str]:
    """Return all links of these sections to the samples."""
    tables = [table for section in sections for table in (section.main, section.parts) if table]
    entries = [entry for table in tables for row in table.rows for entry in row.entries]
    return [link for entry in entries for link in (entry.link, entry.lost) if link]


def _main_table(study: Study, metric: Metric) -> ScoreTable:
    decimals = study.decimals([metric.key])
    usual = _usual_counts(study, metric)
    rows = []
    for series in study.series:
        cells = [Cell(series, steps) for steps in study.steps]
        entries = [_entry(study, metric, cell, decimals, usual) for cell in cells]
        if any(entry.standing != "absent" for entry in entries):
            rows.append(TableRow(study.label(series), "", study.style(series).css, entries))
    caption = _caption(study, metric.full_title, [metric]) + _power(study, metric)
    rows += _published_main(study, metric)
    return ScoreTable(caption, _step_heads(study), rows)


def _published_main(study: Study, metric: Metric) -> list[TableRow]:
    """Return the published rows of a metric, at the numbers of steps that the run has."""
    rows = []
    for line in study.published:
        entries = [_published_entry(line, metric, steps) for steps in study.steps]
        if any(entry.standing != "absent" for entry in entries):
            rows.append(TableRow(line.label, "", "published", entries))
    return rows


def _published_parts(study: Study, metrics: list[Metric]) -> list[TableRow]:
    """Return the published rows of several metrics, one for each number of steps."""
    rows = []
    for line in study.published:
        for steps in sorted({steps for _, steps in line.points}, reverse=True):
            entries = [_published_entry(line, metric, steps) for metric in metrics]
            if any(entry.standing != "absent" for entry in entries):
                rows.append(TableRow(line.label, plural(steps, "step"), "published", entries))
    return rows


def _published_entry(line: PublishedLine, metric: Metric, steps: int) -> Entry:
    point = line.points.get((metric.key, steps))
    if point is None:
        return ABSENT._replace(remark="not published")
    return Entry(point.text, "", "", "", "published", "")


def _power(study: Study, metric: Metric) -> str:
    """Say how small a difference these prompts can show, so that a tie can be read."""
    found = [p.detectable for (key, _), p in study.pairs.items() if key == metric.key]
    found = [value for value in found if known(value)]
    if not found:
        return ""
    digits = decimals_for((-value, value) for value in found)
    low, high = number(min(found), digits), number(max(found), digits)
    sizes = low if low == high else f"{low} to {high} (by cell)"
    return f" A true difference of {sizes} would be found 4 times in 5."


def _parts_table(study: Study, metrics: list[Metric]) -> ScoreTable:
    decimals = {
        metric.key: study.decimals(other.key for other in metrics if other.unit == metric.unit)
        for metric in metrics
    }
    rows = []
    for series in study.series:
        for cell in reversed(study.cells(series)):
            entries = [
                _entry(study, metric, cell, decimals[metric.key], None) for metric in metrics
            ]
            if any(entry.standing != "absent" for entry in entries):
                sub = plural(cell.steps, "step")
                rows.append(TableRow(study.label(series), sub, study.style(series).css, entries))
    rows += _published_parts(study, metrics)
    columns = [
        f"{metric.title} ({metric.unit})" if _mixed(metrics) else metric.title for metric in metrics
    ]
    title = f"{benchmark_title(metrics[0].benchmark)}, part by part"
    bare = any(not known(v.low, v.high) for v in _of(study, metrics) if known(v.value))
    none = " Where no interval stands, there are too few prompts for one." if bare else ""
    return ScoreTable(_caption(study, title, metrics) + none, columns, rows)


def _mixed(metrics: list[Metric]) -> bool:
    return len({metric.unit for metric in metrics}) > 1


def time_table(study: Study) -> ScoreTable | None:
    """Return seconds and network evaluations by models and steps; None where nothing was timed."""
    key = time_key(study)
    if key is None and not study.nfe:
        return None
    rows = []
    for series in study.series:
        cells = [Cell(series, steps) for steps in study.steps]
        entries = [_time_entry(study, key, cell) for cell in cells]
        if any(entry.standing != "absent" for entry in entries):
            rows.append(TableRow(study.label(series), "", study.style(series).css, entries))
    caption = (
        "Time per sample with its 95 % interval, network evaluations (NFE), "
        "and speed against the reference."
    )
    return ScoreTable(caption, _step_heads(study), rows)


def time_key(study: Study) -> str | None:
    """Return the key of the timing that the report shows."""
    keys = dict.fromkeys(key for key, _ in study.timings)
    return next((key for key in keys if "seconds" in key), None)


def _time_entry(study: Study, key: str | None, cell: Cell) -> Entry:
    value = study.timings.get((key, cell)) if key else None
    nfe = study.nfe.get(cell)
    if value is None and nfe is None:
        return ABSENT
    shown = duration(value.value) if value else DASH
    around = (
        f"[{duration(value.low)}, {duration(value.high)}]"
        if value and known(value.low, value.high)
        else ""
    )
    full = study.timings.get((key, study.reference)) if key and study.reference else None
    faster = ""
    if (
        value
        and full
        and known(value.value, full.value)
        and value.value > 0
        and cell != study.reference
    ):
        faster = f"{number(full.value / value.value, 1)}\N{MULTIPLICATION SIGN} as fast"
    evaluations = f"{number(nfe, 0)} NFE" if nfe is not None else ""
    standing: Standing = "reference" if cell == study.reference else "untested"
    return Entry(shown, "", around, ", ".join(filter(None, (evaluations, faster))), standing, "")


def _entry(
    study: Study, metric: Metric, cell: Cell, decimals: int, usual: tuple[int, int] | None
) -> Entry:
    value = study.values.get((metric.key, cell))
    if value is None or not known(value.value):
        return ABSENT if value is None else ABSENT._replace(remark="no value")
    pair = study.pairs.get((metric.key, cell))
    difference, standing = "", _standing(study, metric, cell)
    if pair is not None and known(pair.difference) and standing != "reference":
        difference = signed(pair.difference, decimals)
        # Parts have no counts to compare with either: their caption says it once for all.
        if known(pair.low, pair.high) or usual is not None:
            difference += f" {interval(pair.low, pair.high, decimals, sign=True)}"
    return Entry(
        number(value.value, decimals),
        half_interval(value.low, value.high, decimals),
        interval(value.low, value.high, decimals),
        difference,
        standing,
        _counts_remark(value, usual),
        study.samples_link(cell, metric),
        study.samples_link(cell, metric, lost=True) if _can_lose(study, metric, cell) else "",
    )


def _can_lose(study: Study, metric: Metric, cell: Cell) -> bool:
    """Say whether samples can be right at the reference and wrong here."""
    judged = study.quality is not None and study.quality.benchmark == metric.benchmark
    return judged and metric.unit in RIGHT_OR_WRONG and study.reference not in (None, cell)


def _standing(study: Study, metric: Metric, cell: Cell) -> Standing:
    if cell == study.reference:
        return "reference"
    pair = study.pairs.get((metric.key, cell))
    if pair is None or not known(pair.difference):
        return "untested"
    if pair.tied is None:
        return "untestable"
    if pair.tied:
        return "tie"
    return "better" if (pair.difference > 0) == metric.higher_is_better else "worse"


def _counts_remark(value: Value, usual: tuple[int, int] | None) -> str:
    parts = []
    if usual is not None and (value.n_prompts, value.n_samples) != usual:
        prompts = f" of {plural(value.n_prompts, 'prompt')}" * (value.n_prompts != usual[0])
        parts.append(f"n{NBSP}={NBSP}{value.n_samples}{prompts}")
    if value.n_missing:
        parts.append(f"{value.n_missing} without a value")
    return ", ".join(parts)


def _of(study: Study, metrics: Iterable[Metric]) -> list[Value]:
    keys = {metric.key for metric in metrics}
    return [value for (key, _), value in study.values.items() if key in keys]


def _usual_counts(study: Study, metric: Metric) -> tuple[int, int]:
    """Return the most frequent (prompts, samples) of a metric's cells."""
    counts = Counter((value.n_prompts, value.n_samples) for value in _of(study, [metric]))
    return max(counts, key=lambda pair: (counts[pair], pair)) if counts else (0, 0)


def _caption(study: Study, title: str, metrics: list[Metric]) -> str:
    units = {metric.unit for metric in metrics}
    unit = f" ({metrics[0].unit})" if len(units) == 1 and metrics[0].unit else ""
    ways = {metric.higher_is_better for metric in metrics}
    way = f", {'higher' if metrics[0].higher_is_better else 'lower'} is better" * (len(ways) == 1)
    counts = {_usual_counts(study, metric) for metric in metrics}
    prompts, samples = ({pair[place] for pair in counts} for place in (0, 1))
    n = f"n{NBSP}={NBSP}{_range(samples, 'sample')} of {_range(prompts, 'prompt')} per cell"
    missing = max(sum(value.n_missing for value in _of(study, [metric])) for metric in metrics)
    gaps = f"{plural(missing, 'sample')} without a value" if missing else "none missing"
    return f"{title}{unit}{way}. {n if max(prompts) else 'n unknown'}, {gaps}."


def _range(counts: set[int], word: str) -> str:
    low, high = min(counts), max(counts)
    return plural(high, word) if low == high else f"{low} to {plural(high, word)}"


def _step_heads(study: Study) -> list[str]:
    return [plural(steps, "step") for steps in study.steps]
