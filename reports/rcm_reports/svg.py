"""SVG elements as escaped text, and the few shapes that the charts share."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from rcm_reports.palette import Style


class Size(NamedTuple):
    """Size of a chart in SVG units, which are pixels where the page shows it unscaled."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Return one element; text and attribute values are escaped, elements stay as they are.

    An underscore in an attribute's name becomes a hyphen, one at its end is dropped (``class_``).
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _text(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    # Names of elements and attributes come from this package, never from data.
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inner)  # noqa: S704


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def chart(ident: str, title: str, description: str, size: Size, *children: str, css: str) -> Markup:
    """Return a chart that screen readers announce by its title and description."""
    return tag(
        "svg",
        tag("title", title, id=f"{ident}-t"),
        tag("desc", description, id=f"{ident}-d"),
        *children,
        class_=css,
        viewBox=f"0 0 {size.width} {size.height}",
        role="img",
        aria_labelledby=f"{ident}-t {ident}-d",
    )


def text(x: float, y: float, content: str, *, anchor: str = "start", css: str = "lab") -> Markup:
    """Return one line of text."""
    return tag("text", content, x=x, y=y, text_anchor=anchor, class_=css)


def polyline(points: Sequence[tuple[float, float]], style: Style, *, width: float = 2.0) -> Markup:
    """Return the line through the points."""
    return tag(
        "polyline",
        points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points),
        fill="none",
        stroke="currentColor",
        stroke_width=width,
        stroke_dasharray=style.dash or None,
        stroke_linejoin="round",
    )


SHAPES = {
    "circle": "M-{0} 0a{0} {0} 0 1 0 {1} 0a{0} {0} 0 1 0 -{1} 0Z",
    "square": "M-{0} -{0}H{0}V{0}H-{0}Z",
    "triangle": "M0 -{2}L{2} {0}H-{2}Z",
    "diamond": "M0 -{2}L{2} 0L0 {2}L-{2} 0Z",
    "wedge": "M0 {2}L{2} -{0}H-{2}Z",
    "plus": "M-{3} -{2}H{3}V-{3}H{2}V{3}H{3}V{2}H-{3}V{3}H-{2}V-{3}H-{3}Z",
    "cross": "M0 -{3}L{0} -{2}L{2} -{0}L{3} 0L{2} {0}L{0} {2}"
    "L0 {3}L-{0} {2}L-{2} {0}L-{3} 0L-{2} -{0}L-{0} -{2}Z",
}


def marker(
    x: float,
    y: float,
    style: Style,
    tip: str | None = None,
    *,
    radius: float = 4.5,
    hollow: bool = False,
) -> Markup:
    """Return a line's marker, with a tooltip; in outline where it is not measured."""
    path = SHAPES[style.marker].format(
        _text(radius), _text(2 * radius), _text(1.3 * radius), _text(0.4 * radius)
    )
    return tag(
        "path",
        *([tag("title", tip)] if tip else []),
        d=path,
        transform=f"translate({x:.1f} {y:.1f})",
        fill=None if hollow else "currentColor",
        class_="mark hollow" if hollow else "mark",
    )
