"""Numbers of others, shown beside a run's own: visibly as published, and in no comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from rcm_reports.formatting import steps_text, visible
from rcm_reports.inputs import ReportInput, records
from rcm_reports.palette import GREY, HOLLOW, Style
from rcm_reports.svg import marker, tag


class PublishedPoint(NamedTuple):
    """One printed number.

    Attributes:
        value: In the unit of the run's own.
        text: As it is printed.
    """

    value: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedLine:
    """What is printed of one model at one place.

    Args:
        benchmark: Name of the benchmark.
        label: Model, size and method.
        source: Where it is printed.
        differs: What it was measured under that the run was not, or what is not stated.
        note: What else is known of the numbers, such as a total that its parts do not give.
        style: Its marker; drawn in outline.
        points: Numbers by (metric key, steps).
    """

    benchmark: str
    label: str
    source: str
    differs: str
    note: str
    style: Style
    points: Mapping[tuple[str, int], PublishedPoint]

    def at(self, key: str) -> list[tuple[PublishedPoint, int]]:
        """Return the numbers of a metric with their steps, ascending."""
        found = [(point, steps) for (k, steps), point in self.points.items() if k == key]
        return sorted(found, key=lambda pair: pair[1])

    def tip(self, key: str, steps: int) -> str:
        """Return a number in words."""
        text = self.points[key, steps].text
        return f"{self.label}, {steps_text(steps)}: {text}, published ({self.source})"

    def key(self) -> Markup:
        """Return the marker for a legend."""
        mark = marker(7, 7, self.style, hollow=True)
        return tag(
            "svg",
            mark,
            class_=f"key {self.style.css}",
            viewBox="0 0 14 14",
            width=14,
            height=14,
            aria_hidden="true",
        )


def published_lines(report: ReportInput) -> tuple[PublishedLine, ...]:
    """Return the published numbers of a report, a line for each model, source and protocol."""
    rows: dict[tuple[str, str, str, str], dict[tuple[str, int], PublishedPoint]] = {}
    notes: dict[tuple[str, str, str, str], dict[str, None]] = {}
    for row in records(report.published):
        model, source = visible(row["model"], 80), visible(row["source"], 120)
        line = (str(row["benchmark"]), model, source, visible(row["differs"], 600))
        key = (f"{row['benchmark']}.{row['metric']}", int(row["steps"]))
        point = PublishedPoint(float(row["value"]), visible(row["text"], 20))
        rows.setdefault(line, {})[key] = point
        if row.get("note"):
            notes.setdefault(line, {})[visible(row["note"], 300)] = None
    return tuple(
        PublishedLine(
            benchmark=line[0],
            label=line[1],
            source=line[2],
            differs=line[3],
            note="; ".join(notes.get(line, {})),
            style=Style("published", GREY, HOLLOW[place % len(HOLLOW)], ""),
            points=points,
        )
        for place, (line, points) in enumerate(rows.items())
    )
