"""A number against the runs of a suite: one line per model, broken where runs do not compare."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from rcm_reports.axes import Scale, padded, spread, tick_text, ticks
from rcm_reports.chart_lines import clip
from rcm_reports.formatting import known
from rcm_reports.palette import Style
from rcm_reports.svg import Size, chart, marker, polyline, tag, text

SIZE = Size(420, 260, left=44, right=96, top=30, bottom=40)
ARROWS = {"worse": "\N{BLACK DOWN-POINTING TRIANGLE}", "better": "\N{BLACK UP-POINTING TRIANGLE}"}


class Spot(NamedTuple):
    """One run's number; ``joined`` if it may be compared with the one before."""

    place: int
    y: float
    low: float
    high: float
    kind: str
    joined: bool
    tip: str


class Course(NamedTuple):
    """One model through the runs."""

    label: str
    style: Style
    spots: list[Spot]


def history_chart(
    ident: str, title: str, dates: Sequence[str], courses: Sequence[Course]
) -> Markup:
    """Return the chart of one metric at one number of steps.

    Args:
        ident: Start of the ids in the chart.
        title: What is drawn.
        dates: One for each run; runs stand at equal distances.
        courses: The lines.
    """
    size = SIZE
    x = Scale(0, max(len(dates) - 1, 1), size.left + 12, size.width - size.right - 8)
    found = [v for course in courses for s in course.spots for v in (s.y, s.low, s.high)]
    y = Scale(*padded(found), size.height - size.bottom, size.top)
    body = [_grid(dates, x, y), *(_course(course, x, y) for course in courses), _names(courses, y)]
    description = "; ".join(spot.tip for course in courses for spot in course.spots)
    body.append(text(4, 15, clip(title, 60)))
    return chart(ident, title, description, size, *body, css="chart chart-panel")


def _grid(dates: Sequence[str], x: Scale, y: Scale) -> Markup:
    bottom, right = SIZE.height - SIZE.bottom, SIZE.width - SIZE.right
    parts = []
    for value in ticks(y.low, y.high, 4):
        at = y(value)
        parts.append(tag("line", x1=SIZE.left, x2=right, y1=at, y2=at, class_="grid"))
        parts.append(text(SIZE.left - 6, at + 4, tick_text(value), anchor="end", css="tick"))
    every = -(-len(dates) // 4)
    for place, date in enumerate(dates):
        at = x(place)
        parts.append(tag("line", x1=at, x2=at, y1=bottom, y2=bottom + 5, class_="axis"))
        if place % every == 0 or len(dates) <= 4:
            parts.append(text(at, bottom + 19, date, anchor="middle", css="tick"))
    parts.append(tag("line", x1=SIZE.left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    return tag("g", *parts)


def _course(course: Course, x: Scale, y: Scale) -> Markup:
    parts = []
    for before, after in zip(course.spots, course.spots[1:], strict=False):
        if after.joined:
            ends = [(x(before.place), y(before.y)), (x(after.place), y(after.y))]
            parts.append(polyline(ends, course.style, width=1.5))
    for spot in course.spots:
        at = x(spot.place)
        if known(spot.low, spot.high):
            parts.append(
                tag("line", x1=at, x2=at, y1=y(spot.low), y2=y(spot.high), class_="whisker")
            )
        parts.append(marker(at, y(spot.y), course.style, spot.tip, radius=4.0))
        if spot.kind in ARROWS:
            css = f"arrow {spot.kind}"
            parts.append(text(at + 6, y(spot.y) - 5, ARROWS[spot.kind], css=css))
    return tag("g", *parts, class_=course.style.css)


def _names(courses: Sequence[Course], y: Scale) -> Markup:
    """Names stand right of the last run."""
    shown = [course for course in courses if course.spots]
    heights = spread(
        [y(course.spots[-1].y) for course in shown], 15, SIZE.top, SIZE.height - SIZE.bottom
    )
    parts = [
        tag(
            "g",
            text(SIZE.width - SIZE.right + 8, height + 4, clip(course.label, 14)),
            class_=course.style.css,
        )
        for course, height in zip(shown, heights, strict=True)
    ]
    return tag("g", *parts)
