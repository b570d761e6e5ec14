"""Plots as files for papers and slides: SVG, PDF and PNG, the same bytes for the same input.

Every figure is as wide as one column of a two-column page, so that it is set without scaling and
its letters have the size of a caption's. Letters are paths in SVG and embedded TrueType in PDF.
"""

import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import LogLocator, NullFormatter

from rcm_reports.chart_lines import clip, level_of, lines_of
from rcm_reports.formatting import code_point, known, tick_duration
from rcm_reports.inputs import ReportInput
from rcm_reports.palette import Style
from rcm_reports.score_tables import time_key
from rcm_reports.study import Cell, Metric, Study, Value, build_study

MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "wedge": "v",
    "plus": "P",
    "cross": "X",
}
COLUMN = (3.3, 2.5)  # inches: one column of CVPR's or ICML's page, near to two of NeurIPS's
MAX_NAME = 24
SETTINGS: Any = {
    "svg.hashsalt": "rcm_reports",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "legend.handlelength": 2.6,
    "legend.labelspacing": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#eceef0",
    "legend.frameon": False,
    "text.parse_math": False,
}


def write_plots(report_input: ReportInput, out_dir: Path) -> list[Path]:
    """Write quality against steps, diversity and time as ``.svg``, ``.pdf`` and ``.png``.

    Returns:
        The files; none where nothing was measured.
    """
    study = build_study(report_input)
    quality = study.quality
    if quality is None:
        return []
    out_dir.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        for stem, figure in _figures(study, quality):
            written += _save(figure, out_dir / stem)
    return written


def _figures(study: Study, quality: Metric) -> list[tuple[str, Figure]]:
    figures = []
    for metric in study.metrics:
        if metric.headline and lines_of(study, metric):
            figures.append((f"steps_{_stem(metric)}", _steps_figure(study, metric)))
    diversity, seconds = study.diversity, time_key(study)
    drawn = study.measured(quality)
    if drawn and diversity is not None and study.measured(diversity):
        figure = _scatter(
            study,
            quality,
            lambda cell: study.values.get((diversity.key, cell)),
            diversity.full_title,
        )
        figures.append(("quality_diversity", figure))
    if drawn and seconds is not None:
        figure = _scatter(
            study,
            quality,
            lambda cell: study.timings.get((seconds, cell)),
            "time per sample",
            log=True,
        )
        figures.append(("quality_time", figure))
    return figures


def _stem(metric: Metric) -> str:
    return "".join(
        c if c.isalnum() and c.isascii() else "_" for c in f"{metric.benchmark}_{metric.name}"
    )


def _style(style: Style) -> dict[str, Any]:
    dashes = tuple(float(part) / 1.5 for part in style.dash.split()) if style.dash else None
    line = (0, dashes) if dashes else "-"
    return {
        "color": style.color,
        "marker": MARKERS[style.marker],
        "linestyle": line,
        "markersize": 4,
    }


def _steps_figure(study: Study, metric: Metric) -> Figure:
    figure = Figure(figsize=COLUMN, layout="constrained")
    axes = figure.add_subplot()
    level = level_of(study, metric)
    if level is not None:
        axes.axhline(level.y, color="black", linestyle=":", linewidth=1)
        if known(level.low, level.high):
            axes.axhspan(level.low, level.high, color="black", alpha=0.08, linewidth=0)
    for line in lines_of(study, metric):
        x = [point.x for point in line.points]
        axes.plot(
            x,
            [point.y for point in line.points],
            label=_drawable(clip(line.label, MAX_NAME)),
            **_style(line.style),
        )
        axes.fill_between(
            x,
            [p.low for p in line.points],
            [p.high for p in line.points],
            color=line.style.color,
            alpha=0.12,
            linewidth=0,
        )
    steps = set(study.steps)
    for published in study.published:
        points = published.at(metric.key)
        if points:
            axes.plot(
                [at for _, at in points],
                [point.value for point, _ in points],
                label=_drawable(f"{clip(published.label, MAX_NAME)} (published)"),
                **_style(published.style) | {"linestyle": "none", "markerfacecolor": "none"},
            )
            steps |= {at for _, at in points}
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(steps), [str(step) for step in sorted(steps)])
    axes.minorticks_off()
    axes.set_xlabel("sampling steps")
    axes.set_ylabel(
        _drawable(f"{metric.full_title} ({metric.unit})" if metric.unit else metric.full_title)
    )
    axes.legend()
    return figure


def _scatter(
    study: Study,
    quality: Metric,
    across: Callable[[Cell], Value | None],
    title: str,
    *,
    log: bool = False,
) -> Figure:
    figure = Figure(figsize=COLUMN, layout="constrained")
    axes = figure.add_subplot()
    for series in study.series:
        found = [
            (cell.steps, x, y)
            for cell in study.cells(series)
            if (x := across(cell)) is not None
            and (y := study.values.get((quality.key, cell))) is not None
            and known(x.value, y.value)
            and (x.value > 0 or not log)
        ]
        if not found:
            continue
        style = study.style(series)
        axes.errorbar(
            [x.value for _, x, _ in found],
            [y.value for _, _, y in found],
            xerr=_errors([x for _, x, _ in found]),
            yerr=_errors([y for _, _, y in found]),
            elinewidth=0.8,
            linewidth=0.8,
            label=_drawable(clip(study.label(series), MAX_NAME)),
            **_style(style),
        )
        for steps, x, y in found:
            axes.annotate(
                str(steps),
                (x.value, y.value),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=6,
            )
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(lambda value, _: tick_duration(value))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(_drawable(title))
    axes.set_ylabel(_drawable(quality.full_title))
    axes.legend()
    return figure


def _drawable(text: str) -> str:
    """Write characters that the font lacks as code points."""
    return "".join(c if ord(c) in _letters() else code_point(c) for c in text)


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def _errors(values: list[Value]) -> list[list[float]]:
    def reach(distance: float) -> float:
        return max(distance, 0.0) if math.isfinite(distance) else math.nan

    return [[reach(v.value - v.low) for v in values], [reach(v.high - v.value) for v in values]]


def _save(figure: Figure, stem: Path) -> list[Path]:
    author = "rcm_reports"
    pdf = {"CreationDate": None, "Creator": author, "Producer": author}
    paths = []
    for suffix, canvas, keywords in (
        (".svg", FigureCanvasSVG, {"metadata": {"Date": None, "Creator": author}}),
        (".pdf", FigureCanvasPdf, {"metadata": pdf}),
        (".png", FigureCanvasAgg, {"metadata": {"Software": author}, "dpi": 300}),
    ):
        path = stem.with_name(stem.name + suffix)
        temporary = path.with_name(f".{path.name}.tmp")
        canvas(figure).print_figure(temporary, format=suffix[1:], **keywords)
        os.replace(temporary, path)
        paths.append(path)
    return paths
