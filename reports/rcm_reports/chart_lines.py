"""Quality against steps: one line per model with its intervals, the teacher as a level to reach."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from rcm_reports.axes import Scale, focus, spread, tick_text, ticks
from rcm_reports.formatting import ELLIPSIS, interval, known, number, steps_text
from rcm_reports.palette import Style
from rcm_reports.published import PublishedLine
from rcm_reports.study import Metric, Study
from rcm_reports.svg import Size, chart, marker, polyline, tag, text

WIDE = Size(640, 440, left=132, right=12, top=34, bottom=48)
NARROW = Size(360, 340, left=98, right=10, top=34, bottom=44)
TICKS = 40
SMALL = Size(260, 190, left=44, right=10, top=16, bottom=30)


class Point(NamedTuple):
    """One measurement in a chart."""

    x: float
    y: float
    low: float
    high: float
    tip: str


class Line(NamedTuple):
    """One model in a chart; ``own`` if it is the teacher itself at fewer steps."""

    label: str
    style: Style
    points: list[Point]
    own: bool


class Level(NamedTuple):
    """The teacher at its full number of steps, as a horizontal line with a band."""

    label: str
    y: float
    low: float
    high: float


def lines_of(study: Study, metric: Metric) -> list[Line]:
    """Return the lines of a metric against steps."""
    decimals = study.decimals([metric.key])
    lines = []
    for series in study.series:
        points = []
        for cell in study.cells(series):
            value = study.values.get((metric.key, cell))
            if value is None or not known(value.value):
                continue
            tip = (
                f"{study.label(series)}, {steps_text(cell.steps)}: {number(value.value, decimals)} "
            )
            tip += interval(value.low, value.high, decimals)
            points.append(Point(cell.steps, value.value, value.low, value.high, tip))
        if points:
            own = series not in study.students
            lines.append(Line(study.label(series), study.style(series), points, own))
    return lines


def level_of(study: Study, metric: Metric) -> Level | None:
    """Return the teacher's level of a metric."""
    if study.reference is None:
        return None
    value = study.values.get((metric.key, study.reference))
    if value is None or not known(value.value):
        return None
    label = f"{study.label(study.reference.series)}, {steps_text(study.reference.steps)}"
    return Level(label, value.value, value.low, value.high)


def steps_chart(ident: str, study: Study, metric: Metric, size: Size) -> Markup:
    """Return the chart of a metric against steps."""
    lines, level = lines_of(study, metric), level_of(study, metric)
    others = [line for line in study.published if line.at(metric.key)]
    x = Scale(*_steps_range(study, others), size.left + 8, size.width - size.right - 14, log=True)
    small = size is SMALL
    shown = [line._replace(own=False) for line in lines] if small else lines
    y = Scale(
        *_values_range(shown, level, _published_values(others, metric)),
        size.height - size.bottom,
        size.top,
    )
    body = [_grid(_all_steps(study, others), x, y, size), _clip_path(ident, size)]
    if level:
        body.append(_level(level, y, size, named=not small))
    drawn = [_band(line, x, y) for line in lines]
    drawn += [_line(line, x, y, small=small) for line in lines]
    drawn += [_published(line, metric, x, y, small=small) for line in others]
    body.append(tag("g", *drawn, clip_path=f"url(#{ident}-c)"))
    if not small:
        body += [_names(lines, x, y, size), _outside(lines, y, size), _axis_titles(metric, size)]
    said = [point.tip for line in lines for point in line.points]
    said += [line.tip(metric.key, steps) for line in others for _, steps in line.at(metric.key)]
    description = "; ".join(said)
    title = f"{metric.full_title} against sampling steps"
    kind = "chart chart-small" if small else f"chart {'wide' if size is WIDE else 'narrow'}"
    return chart(ident, title, description, size, *body, css=kind)


def _published_values(lines: Sequence[PublishedLine], metric: Metric) -> list[float]:
    return [point.value for line in lines for point, _ in line.at(metric.key)]


def _published(line: PublishedLine, metric: Metric, x: Scale, y: Scale, *, small: bool) -> Markup:
    """Draw published numbers in outline: no line, no whisker."""
    radius = 3.0 if small else 4.5
    marks = []
    for point, steps in line.at(metric.key):
        tip = line.tip(metric.key, steps)
        at = x(steps), y(point.value)
        marks.append(marker(*at, line.style, tip, radius=radius, hollow=True))
    return tag("g", *marks, class_=line.style.css)


def _values_range(
    lines: Sequence[Line], level: Level | None, published: Sequence[float]
) -> tuple[float, float]:
    """Keep the axis on the students and the level; a teacher at one step would crush them."""
    level_values = [*([level.y, level.low, level.high] if level else []), *published]
    return focus(
        [
            *level_values,
            *(v for line in lines if not line.own for p in line.points for v in p[1:4]),
        ],
        [v for line in lines if line.own for p in line.points for v in p[1:4]],
    )


def _clip_path(ident: str, size: Size) -> Markup:
    width, height = size.width - size.left, size.height - size.bottom - size.top
    area = tag("rect", x=size.left - 8, y=size.top - 8, width=width, height=height + 8)
    return tag("clipPath", area, id=f"{ident}-c")


def _outside(lines: Sequence[Line], y: Scale, size: Size) -> Markup:
    """Say in words which points lie outside the axis."""
    parts = []
    for line in lines:
        hidden = [p for p in line.points if not y.low <= p.y <= y.high]
        if hidden:
            where = ", ".join(f"{number(p.y, 2)} at {p.x:g}" for p in reversed(hidden))
            arrow = "\N{DOWNWARDS ARROW}" if hidden[0].y < y.low else "\N{UPWARDS ARROW}"
            parts.append(f"{arrow} {clip(line.label, 14)}: {where}")
    said = "; ".join(parts)
    return text(
        size.width - size.right - 4, size.height - size.bottom - 9, said, anchor="end", css="tick"
    )


def _all_steps(study: Study, published: Sequence[PublishedLine]) -> list[int]:
    return sorted({*study.steps, *(steps for line in published for _, steps in line.points)})


def _steps_range(study: Study, published: Sequence[PublishedLine]) -> tuple[float, float]:
    steps = _all_steps(study, published)
    low, high = float(steps[0]), float(steps[-1])
    return (low, high) if low < high else (low / 2, high * 2)


def _grid(steps: Sequence[int], x: Scale, y: Scale, size: Size) -> Markup:
    bottom, right = size.height - size.bottom, size.width - size.right
    parts = []
    for value in ticks(y.low, y.high, 5 if size.height > 250 else 3):
        at = y(value)
        parts.append(tag("line", x1=TICKS, x2=right, y1=at, y2=at, class_="grid"))
        parts.append(text(TICKS - 5, at + 4, tick_text(value), anchor="end", css="tick"))
    for step in steps:
        at = x(step)
        parts.append(tag("line", x1=at, x2=at, y1=bottom, y2=bottom + 5, class_="axis"))
        parts.append(text(at, bottom + 18, str(step), anchor="middle", css="tick"))
    parts.append(tag("line", x1=size.left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    return tag("g", *parts)


def _level(level: Level, y: Scale, size: Size, *, named: bool) -> Markup:
    right = size.width - size.right
    parts = []
    if known(level.low, level.high):
        top, bottom = y(level.high), y(level.low)
        parts.append(
            tag(
                "rect",
                x=size.left,
                y=top,
                width=right - size.left,
                height=bottom - top,
                class_="band",
            )
        )
    at = y(level.y)
    parts.append(
        tag(
            "line",
            x1=size.left,
            x2=right,
            y1=at,
            y2=at,
            stroke="currentColor",
            stroke_dasharray="1 4",
        )
    )
    if named:
        top = y(level.high) if known(level.high) else at
        parts.append(text(right - 4, top - 6, clip(level.label, 40), anchor="end"))
    return tag("g", *parts, class_="c0")


def _band(line: Line, x: Scale, y: Scale) -> Markup:
    points = [point for point in line.points if known(point.low, point.high)]
    if len(points) < 2:
        return tag("g")
    outline = [(x(p.x), y(p.high)) for p in points] + [(x(p.x), y(p.low)) for p in reversed(points)]
    corners = " ".join(f"{across:.1f},{down:.1f}" for across, down in outline)
    return tag("g", tag("polygon", points=corners, class_="band"), class_=line.style.css)


def _line(line: Line, x: Scale, y: Scale, *, small: bool) -> Markup:
    parts = [
        polyline([(x(p.x), y(p.y)) for p in line.points], line.style, width=1.5 if small else 2)
    ]
    for p in line.points:
        if known(p.low, p.high):
            at = x(p.x)
            parts.append(tag("line", x1=at, x2=at, y1=y(p.low), y2=y(p.high), class_="whisker"))
    radius = 3.0 if small else 4.5
    parts += [marker(x(p.x), y(p.y), line.style, p.tip, radius=radius) for p in line.points]
    return tag("g", *parts, class_=line.style.css)


def _names(lines: Sequence[Line], x: Scale, y: Scale, size: Size) -> Markup:
    """Names stand left of the fewest steps, where models differ most and no line passes."""
    first = min(point.x for line in lines for point in line.points) if lines else 1.0
    inside = [line for line in lines if y.low <= line.points[0].y <= y.high]
    started = [line for line in inside if line.points[0].x == first]
    late = [line for line in inside if line.points[0].x != first and not line.own]
    heights = spread(
        [y(line.points[0].y) for line in started], 17, size.top, size.height - size.bottom
    )
    longest = 12 if size is WIDE else 7
    parts = []
    for line, height in zip(started, heights, strict=True):
        name = text(x(first) - 13, height + 4, clip(line.label, longest), anchor="end")
        parts.append(tag("g", name, class_=line.style.css))
    for line in late:
        point = line.points[0]
        parts.append(text(x(point.x) - 10, y(point.y) - 8, clip(line.label, longest), anchor="end"))
    return tag("g", *parts)


def _axis_titles(metric: Metric, size: Size) -> Markup:
    unit = f" ({metric.unit})" if metric.unit else ""
    way = "higher is better" if metric.higher_is_better else "lower is better"
    across = text(
        (size.left + size.width - size.right) / 2,
        size.height - 8,
        "sampling steps",
        anchor="middle",
        css="tick",
    )
    return tag("g", across, text(4, 16, f"{metric.full_title}{unit}, {way}", css="lab"))


def clip(label: str, length: int) -> str:
    """Return a label cut to a length in its middle: names often differ at their end."""
    if len(label) <= length:
        return label
    end = (length - 1) // 2
    return label[: length - 1 - end] + ELLIPSIS + label[-end:]
