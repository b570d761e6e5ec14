"""Quality against what it costs or loses: diversity, time, network evaluations."""

from collections.abc import Callable
from math import nan

from markupsafe import Markup

from rcm_reports.chart_scatter import Axis, Dot, Trail, scatter_chart
from rcm_reports.formatting import count, known, number, steps_text, tick_duration
from rcm_reports.score_tables import time_key
from rcm_reports.study import Cell, Study, Value

Across = Callable[[Cell], Value | None]


def tradeoff_charts(study: Study) -> list[Markup]:
    """Return the scatters for which there are data."""
    if study.quality is None:
        return []
    charts = []
    diversity, seconds = study.diversity, time_key(study)
    if diversity is not None:
        axis = Axis(f"{diversity.full_title}, higher is better", False, False)
        charts.append(
            _scatter("diversity", study, axis, lambda cell: study.values.get((diversity.key, cell)))
        )
    if seconds is not None:
        axis = Axis("time per sample", True, True, write=tick_duration)
        charts.append(
            _scatter("time", study, axis, lambda cell: study.timings.get((seconds, cell)))
        )
    if study.nfe:
        axis = Axis("network evaluations per sample", True, True, write=count)
        charts.append(_scatter("nfe", study, axis, lambda cell: _exact(study.nfe.get(cell))))
    return [chart for chart in charts if chart]


def _exact(value: float | None) -> Value | None:
    return None if value is None else Value(value, nan, nan, 0, 0, 0)


def _scatter(name: str, study: Study, axis: Axis, across: Across) -> Markup | None:
    quality = study.quality
    assert quality is not None
    trails = []
    for series in study.series:
        dots = []
        for cell in study.cells(series):
            x, y = across(cell), study.values.get((quality.key, cell))
            if x is None or y is None or not known(x.value, y.value) or (axis.log and x.value <= 0):
                continue
            place = f"{study.label(series)}, {steps_text(cell.steps)}"
            where = axis.write(x.value) if axis.log else number(x.value, 3)
            tip = f"{place}: {quality.full_title} {number(y.value, 3)}, {name} {where}"
            dots.append(Dot(cell.steps, x.value, x.low, x.high, y.value, y.low, y.high, tip))
        if dots:
            own = series not in study.students
            trails.append(Trail(study.label(series), study.style(series), dots, own))
    if not trails:
        return None
    title = f"{quality.full_title} against {axis.title.removesuffix(', higher is better')}"
    return scatter_chart(f"scatter-{name}", title, quality.full_title, axis, trails)
