"""The plot of a kernel bench: one panel for each case, one bar for each implementation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from rcm_reports.formatting import visible
from rcm_reports.palette import INK, OKABE_ITO
from rcm_reports.plots import SETTINGS

_WIDTH = 6.8  # inches: both columns of a page
_BAR = 0.19  # inches


def write_speed(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Draw TFLOP/s with the range from the 20th to the 80th percentile of the times.

    Args:
        rows: Of ``kernels bench``; those of one case lie together.
        path: An ``.svg`` file; the same rows give the same bytes.
    """
    panels: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        panels.setdefault(_title(row), []).append(row)
    heights = [len(panel) + 1.6 for panel in panels.values()]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        figure = Figure(figsize=(_WIDTH, _BAR * sum(heights) + 0.5), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
        for ax, (title, panel) in zip(axes[:, 0], panels.items(), strict=True):
            _panel(ax, title, panel)
        axes[-1, 0].set_xlabel("TFLOP/s (median; line: 20th to 80th percentile)")
        path.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return path


def _title(row: dict[str, Any]) -> str:
    shape = " ".join(f"{name}{size}" for name, size in row["shape"].items())
    return visible(f"{row['mode']}: {shape}, {row['dtype']}, {row['gpu']}", 120)


def _panel(ax: Any, title: str, rows: list[dict[str, Any]]) -> None:
    for place, row in enumerate(rows):
        ours = str(row["impl"]).startswith("rcm_kernels")
        speed = row["tflops"]
        # Speed is proportional to one over time: the slow end of the times is the low end here.
        low, high = (speed * row["p50_ms"] / row[end] for end in ("p80_ms", "p20_ms"))
        ax.barh(place, speed, height=0.7, color=OKABE_ITO["blue" if ours else "sky"])
        ax.plot([low, high], [place, place], color=INK, linewidth=0.8)
        ax.annotate(
            f"{speed:.3g}", (high, place), xytext=(3, 0), textcoords="offset points", va="center"
        )
    ax.set_yticks(range(len(rows)), [visible(row["impl"], 40) for row in rows])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.08)
    ax.set_title(title, loc="left", fontsize=7)
