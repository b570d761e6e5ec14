"""What quality costs: one point per model and number of steps, labelled in place."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from rcm_reports.axes import Scale, focus, log_ticks, padded, tick_text, ticks
from rcm_reports.chart_lines import clip
from rcm_reports.formatting import known
from rcm_reports.palette import Style
from rcm_reports.svg import Size, chart, marker, polyline, tag, text

PANEL = Size(370, 320, left=46, right=14, top=34, bottom=46)
CHARACTER_WIDTH = 6.6


class Dot(NamedTuple):
    """One configuration; intervals may be NaN."""

    steps: int
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    tip: str


class Trail(NamedTuple):
    """One model's configurations by ascending steps; ``own`` if it is the teacher itself."""

    label: str
    style: Style
    dots: list[Dot]
    own: bool


class Axis(NamedTuple):
    """What stands along the horizontal axis."""

    title: str
    log: bool
    lower_is_better: bool
    write: Callable[[float], str] = tick_text


Box = tuple[float, float, float, float]


def scatter_chart(
    ident: str, title: str, quality: str, axis: Axis, trails: Sequence[Trail]
) -> Markup:
    """Return a scatter of quality against something else."""
    size = PANEL
    vertical = _vertical(trails)
    outside = _outside(trails, vertical)
    trails = [each for trail in trails if (each := _inside(trail, vertical)).dots]
    dots = [dot for trail in trails for dot in trail.dots]
    across = padded([v for d in dots for v in (d.x, d.x_low, d.x_high)], log=axis.log)
    x = Scale(*across, size.left + 6, size.width - size.right, log=axis.log)
    y = Scale(*vertical, size.height - size.bottom, size.top)
    body = [_grid(axis, x, y), _titles(quality, axis), outside]
    body += [_trail(trail, x, y) for trail in trails]
    body.append(_labels(trails, x, y))
    description = "; ".join(dot.tip for dot in dots)
    return chart(ident, title, description, size, *body, css="chart chart-panel")


def _vertical(trails: Sequence[Trail]) -> tuple[float, float]:
    """Keep the axis on the students and the teacher at its most steps, as in the chart of steps."""

    def values(dots: Sequence[Dot]) -> list[float]:
        return [value for dot in dots for value in (dot.y, dot.y_low, dot.y_high)]

    main = [dot for trail in trails for dot in (trail.dots[-1:] if trail.own else trail.dots)]
    return focus(values(main), values([dot for trail in trails if trail.own for dot in trail.dots]))


def _inside(trail: Trail, vertical: tuple[float, float]) -> Trail:
    low, high = vertical
    return trail._replace(dots=[dot for dot in trail.dots if low <= dot.y <= high])


def _outside(trails: Sequence[Trail], vertical: tuple[float, float]) -> Markup:
    """Say which points lie below or above the axis."""
    parts = []
    for trail in trails:
        hidden = [dot for dot in trail.dots if not vertical[0] <= dot.y <= vertical[1]]
        if hidden:
            arrow = "\N{DOWNWARDS ARROW}" if hidden[0].y < vertical[0] else "\N{UPWARDS ARROW}"
            steps = ", ".join(str(dot.steps) for dot in reversed(hidden))
            parts.append(f"{arrow} {clip(trail.label, 14)} {steps}")
    right, bottom = PANEL.width - PANEL.right, PANEL.height - PANEL.bottom
    return text(right - 2, bottom - 8, "; ".join(parts), anchor="end", css="tick")


def _grid(axis: Axis, x: Scale, y: Scale) -> Markup:
    size, bottom = PANEL, PANEL.height - PANEL.bottom
    right = size.width - size.right
    parts = []
    for value in ticks(y.low, y.high, 5):
        at = y(value)
        parts.append(tag("line", x1=size.left, x2=right, y1=at, y2=at, class_="grid"))
        parts.append(text(size.left - 6, at + 4, tick_text(value), anchor="end", css="tick"))
    for value in log_ticks(x.low, x.high) if axis.log else ticks(x.low, x.high, 4):
        at = x(value)
        parts.append(tag("line", x1=at, x2=at, y1=bottom, y2=bottom + 5, class_="axis"))
        parts.append(text(at, bottom + 18, axis.write(value), anchor="middle", css="tick"))
    parts.append(tag("line", x1=size.left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    return tag("g", *parts)


def _titles(quality: str, axis: Axis) -> Markup:
    size = PANEL
    arrow = "\N{NORTH WEST ARROW}" if axis.lower_is_better else "\N{NORTH EAST ARROW}"
    middle = (size.left + size.width - size.right) / 2
    return tag(
        "g",
        text(4, 16, clip(quality, 30)),
        text(size.width - size.right, 16, f"better {arrow}", anchor="end", css="tick"),
        text(middle, size.height - 8, axis.title, anchor="middle", css="tick"),
    )


def _trail(trail: Trail, x: Scale, y: Scale) -> Markup:
    parts = [polyline([(x(d.x), y(d.y)) for d in trail.dots], trail.style, width=1)]
    for d in trail.dots:
        if known(d.y_low, d.y_high):
            parts.append(
                tag("line", x1=x(d.x), x2=x(d.x), y1=y(d.y_low), y2=y(d.y_high), class_="whisker")
            )
        if known(d.x_low, d.x_high) and (d.x_low > 0 or not x.log):
            parts.append(
                tag("line", x1=x(d.x_low), x2=x(d.x_high), y1=y(d.y), y2=y(d.y), class_="whisker")
            )
    parts += [marker(x(d.x), y(d.y), trail.style, d.tip, radius=4.0) for d in trail.dots]
    return tag("g", *parts, class_=trail.style.css)


def _labels(trails: Sequence[Trail], x: Scale, y: Scale) -> Markup:
    """Put each label at the first free place around its point; names go to the most steps."""
    taken: list[Box] = [_around(x(d.x), y(d.y), 5, 5) for trail in trails for d in trail.dots]
    taken += [box for trail in trails for dot in trail.dots for box in _whisker_boxes(dot, x, y)]
    parts = []
    wanted = [
        (trail, trail.dots[-1], f"{clip(trail.label, 12)} {trail.dots[-1].steps}")
        for trail in trails
    ]
    wanted += [(trail, dot, str(dot.steps)) for trail in trails for dot in trail.dots[:-1]]
    for _, dot, content in wanted:
        box = _free_place(x(dot.x), y(dot.y), len(content) * CHARACTER_WIDTH, taken)
        taken.append(box)
        parts.append(text((box[0] + box[2]) / 2, box[3] - 3, content, anchor="middle"))
    return tag("g", *parts)


def _whisker_boxes(dot: Dot, x: Scale, y: Scale) -> list[Box]:
    boxes = []
    if known(dot.y_low, dot.y_high):
        boxes.append((x(dot.x) - 1, y(dot.y_high), x(dot.x) + 1, y(dot.y_low)))
    if known(dot.x_low, dot.x_high) and (dot.x_low > 0 or not x.log):
        boxes.append((x(dot.x_low), y(dot.y) - 1, x(dot.x_high), y(dot.y) + 1))
    return boxes


def _around(x: float, y: float, half_width: float, half_height: float) -> Box:
    return x - half_width, y - half_height, x + half_width, y + half_height


def _free_place(x: float, y: float, width: float, taken: Sequence[Box]) -> Box:
    places = []
    for reach in (0.0, 9.0, 18.0):
        side, up = width / 2 + 8 + reach, 14 + reach
        for dx, dy in (
            (side, 0),
            (-side, 0),
            (0, -up),
            (0, up),
            (side, -up),
            (-side, -up),
            (side, up),
            (-side, up),
        ):
            places.append(_around(x + dx, y + dy, width / 2, 7))
    inside = [
        box
        for box in places
        if box[0] > PANEL.left
        and box[2] < PANEL.width - 2
        and box[1] > 20
        and box[3] < PANEL.height - PANEL.bottom
    ]
    free = [box for box in inside if not any(_overlap(box, other) for other in taken)]
    return (free or inside or places)[0]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
