"""Scales and ticks."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Scale(NamedTuple):
    """A map from data to pixels.

    Attributes:
        low: Data at ``start``.
        high: Data at ``end``.
        start: Pixel of ``low``.
        end: Pixel of ``high``.
        log: True for a logarithmic axis; data must be positive.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def padded(values: Iterable[float], *, log: bool = False) -> tuple[float, float]:
    """Return the range of the finite values with some air around it."""
    found = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if not found:
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = min(found), max(found)
    if log:
        air = max((high / low) ** 0.09, 1.12)
        return low / air, high * air
    air = max(0.07 * (high - low), 0.02 * max(abs(low), abs(high)), 1e-6)
    return low - air, high + air


def focus(main: Iterable[float], others: Iterable[float]) -> tuple[float, float]:
    """Return a range for the main values; others may fall outside if they would crush them."""
    main, others = list(main), list(others)
    wide = padded([*main, *others])
    narrow = padded(main)
    crushed = wide[1] - wide[0] > 1.7 * (narrow[1] - narrow[0])
    return narrow if crushed and any(math.isfinite(value) for value in main) else wide


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers inside a range, about ``count`` of them."""
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5 times powers of ten inside a range; only powers of ten over many decades."""
    factors: Sequence[int] = (1, 2, 5) if high / low < 300 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]


def tick_text(value: float) -> str:
    """Return a tick's label without needless digits."""
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions moved apart to at least ``gap``, staying near to where they were."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    placed = [max(position, low) for position in positions]
    for before, after in zip(order, order[1:], strict=False):
        placed[after] = max(placed[after], placed[before] + gap)
    ceiling = high
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed
