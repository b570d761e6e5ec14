"""Numbers and foreign text as people read them; a missing number is never written as 0."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from fractions import Fraction

MINUS = "\N{MINUS SIGN}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
DASH = "\N{EN DASH}"
NBSP = "\N{NO-BREAK SPACE}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
DOT = "\N{MIDDLE DOT}"
RETURN = "\N{RETURN SYMBOL}"
OPEN = "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}"
CLOSE = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
NO_INTERVAL = "no interval"


def known(*values: float | None) -> bool:
    """Return True if every value is a finite number."""
    return all(value is not None and math.isfinite(value) for value in values)


def decimals_for(low_high: Iterable[tuple[float, float]]) -> int:
    """Return the number of decimals that shows two digits of most half-intervals."""
    halves = sorted((high - low) / 2 for low, high in low_high if known(low, high) and high > low)
    if not halves:
        return 3
    exponent = int(f"{halves[3 * len(halves) // 4]:.1e}".split("e")[1])
    return min(max(1 - exponent, 0), 4)


def decimals_of(values: Iterable[float]) -> int:
    """Return the number of decimals at which no value but 0 is written as 0: 3, or up to 6."""
    sizes = [abs(value) for value in values if known(value) and value]
    exponent = int(f"{min(sizes, default=1.0):.1e}".split("e")[1])
    return min(max(1 - exponent, 3), 6)


def number(value: float | None, decimals: int) -> str:
    """Return a number with a true minus sign; a dash where there is none."""
    if value is None or not known(value):
        return DASH
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float | None, decimals: int) -> str:
    """Return a difference with its sign; zero has none."""
    text = number(value, decimals)
    if value is None or not known(value) or text.startswith(MINUS) or float(text) == 0:
        return text
    return "+" + text


def interval(low: float | None, high: float | None, decimals: int, *, sign: bool = False) -> str:
    """Return ``[low, high]``, or words where there is no interval."""
    if not known(low, high):
        return NO_INTERVAL
    write = signed if sign else number
    return f"[{write(low, decimals)},{NBSP}{write(high, decimals)}]"


def half_interval(low: float | None, high: float | None, decimals: int) -> str:
    """Return half the width of an interval with its sign, or nothing where there is none."""
    if low is None or high is None or not known(low, high):
        return ""
    return f"{PLUS_MINUS}{NBSP}{number((high - low) / 2, decimals)}"


def percent(ratio: float | None) -> str:
    """Return a ratio in percent."""
    return DASH if ratio is None or not known(ratio) else f"{number(100 * ratio, 0)}{NBSP}%"


def percent_interval(low: float | None, high: float | None) -> str:
    """Return the interval of a ratio in percent, or words where there is none."""
    if low is None or high is None or not known(low, high):
        return f"({NO_INTERVAL})"
    return f"[{number(100 * low, 0)},{NBSP}{number(100 * high, 0)}]"


def share(part: float, whole: float) -> str:
    """Return ``part / whole`` as a small fraction where it is one, else in percent."""
    fraction = Fraction(part / whole).limit_denominator(64)
    if abs(float(fraction) - part / whole) < 1e-9 and (
        fraction.numerator == 1 or fraction.denominator <= 8
    ):
        return f"{fraction.numerator}/{fraction.denominator}" if fraction != 1 else "all"
    return percent(part / whole)


def count(value: float) -> str:
    """Return a count with thousands set apart."""
    return f"{round(value):,}"


def plural(value: int, word: str) -> str:
    """Return ``"1 prompt"``, ``"2 prompts"``."""
    return f"{count(value)}{NBSP}{word}{'' if value == 1 else 's'}"


def steps_text(steps: int) -> str:
    """Return ``"1 step"``, ``"4 steps"``."""
    return f"{steps} step{'' if steps == 1 else 's'}"


def listing(words: Sequence[str]) -> str:
    """Return ``"a"``, ``"a and b"``, ``"a, b and c"``."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def duration(seconds: float | None) -> str:
    """Return a duration with three digits and a unit that fits."""
    if seconds is None or not known(seconds):
        return DASH
    value, unit = _in_unit(seconds)
    return f"{_three_digits(value)}{NBSP}{unit}"


def tick_duration(seconds: float) -> str:
    """Return the duration at a tick of an axis without needless digits."""
    value, unit = _in_unit(seconds)
    return f"{value:.3g}{NBSP}{unit}"


def _in_unit(seconds: float) -> tuple[float, str]:
    for limit, factor, unit in (
        (1e-3, 1e6, "\N{MICRO SIGN}s"),
        (1.0, 1e3, "ms"),
        (120.0, 1.0, "s"),
    ):
        if abs(seconds) < limit:
            return seconds * factor, unit
    return seconds / 60, "min"


def _three_digits(value: float) -> str:
    if value == 0:
        return "0"
    return number(value, min(max(2 - math.floor(math.log10(abs(value))), 0), 3))


def visible(text: object, limit: int | None = None) -> str:
    """Return foreign text that is safe to look at: nothing hidden, no neighbour turned around.

    Line breaks become a symbol, control characters (bidirectional overrides among them) and lone
    surrogates become their code point; text longer than ``limit`` is cut and says how long it was.
    """
    whole = str(text)
    cut = whole if limit is None or len(whole) <= limit else whole[:limit]
    plain = cut.isascii() and cut.isprintable()
    shown = cut if plain else "".join(map(_visible_character, cut.replace("\r\n", "\n")))
    if len(cut) < len(whole):
        shown += f"{ELLIPSIS} ({count(len(whole))} characters)"
    return shown


def code_point(character: str) -> str:
    """Return a character's code point, such as ``U+202E``, between angle quotation marks."""
    return f"{OPEN}U+{ord(character):04X}{CLOSE}"


def _visible_character(character: str) -> str:
    if character == "\n":
        return f" {RETURN} "
    if character == "\t":
        return " "
    category = unicodedata.category(character)
    joiners = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
    if category in ("Cc", "Cs", "Co", "Zl", "Zp") or (
        category == "Cf" and character not in joiners
    ):
        return code_point(character)
    return character
