"""How printing writes to standard output: its width, foreign text, numbers."""

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

_PLAIN_WIDTH = 160


def console() -> Console:
    """Return a console on standard output."""
    # A pipe has no width; the default of 80 would fold the table.
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False)


def cell(text: Any) -> Text:
    """Return foreign text as text: never read as markup, and in one line."""
    return Text(" ".join(str(text).split()))


def number(value: float) -> str:
    """Spell a value with three digits, a whole number without a point."""
    return f"{value:.0f}" if value == round(value) and abs(value) >= 1 else f"{value:.3g}"
