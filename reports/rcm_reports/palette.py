"""One colour, marker and dash for each line, told apart without colour too."""

from typing import NamedTuple

# Okabe and Ito (2008), without yellow and black: the reference takes the colour of the text.
OKABE_ITO = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
}
COLORS = tuple(OKABE_ITO.values())
MARKERS = ("circle", "square", "triangle", "diamond", "wedge", "plus", "cross")
DASHES = ("", "7 3", "2 3", "8 3 2 3", "12 3", "4 2")
INK = "#1b1d21"


HOLLOW = ("diamond", "square", "triangle", "wedge", "circle")
"""Markers of published numbers: drawn in outline, which nothing measured is."""
GREY = "#6b7078"


class Style(NamedTuple):
    """How one line is drawn.

    Attributes:
        css: Class that carries the colour on the page.
        color: The colour where there is no style sheet.
        marker: One of MARKERS.
        dash: SVG dash array; empty is solid.
    """

    css: str
    color: str
    marker: str
    dash: str


def style_of(index: int) -> Style:
    """Return the style of a line; index 0 is the reference, students count from 1."""
    if index == 0:
        return Style("c0", INK, "circle", "")
    turn = (index - 1) % len(COLORS)
    later = (index - 1) // len(COLORS)
    marker = MARKERS[1 + (index - 1 + later) % (len(MARKERS) - 1)]
    return Style(f"c{turn + 1}", COLORS[turn], marker, DASHES[(turn + later) % len(DASHES)])
