"""How far one student is above another, from what the paired table says of each.

The interval of a difference of two estimates is made of their own intervals (MOVER, Zou and
Donner 2008) with correlation 0. Two students share the teacher and the prompts, so
their correlation is positive, and the interval rather too wide than too narrow.
"""

import math
from typing import NamedTuple

from rcm_reports.formatting import known
from rcm_reports.study import Cell, Metric, Pair, Study


class Lead(NamedTuple):
    """How far one student is above another, with its 95 % interval."""

    value: float
    low: float
    high: float


def lead_of(study: Study, metric: Metric, one: Cell, other: Cell) -> Lead:
    """Return how far one student is above another, in shares of the teacher's score if known."""
    a, b = study.pairs[metric.key, one], study.pairs[metric.key, other]
    if has_share(a, metric) and has_share(b, metric):
        return difference_of(
            (a.ratio, a.ratio_low, a.ratio_high), (b.ratio, b.ratio_low, b.ratio_high)
        )
    found = difference_of((a.difference, a.low, a.high), (b.difference, b.low, b.high))
    return found if metric.higher_is_better else Lead(-found.value, -found.high, -found.low)


def leads(study: Study, metric: Metric, one: Cell, other: Cell) -> bool:
    """Say whether one student is above another by more than chance."""
    lead = lead_of(study, metric, one, other)
    return known(lead.low) and lead.low > 0


def difference_of(a: tuple[float, float, float], b: tuple[float, float, float]) -> Lead:
    """Return a - b with an interval from the intervals of both (value, low, high), uncorrelated."""
    value = a[0] - b[0]
    return Lead(
        value,
        value - math.hypot(a[0] - a[1], b[2] - b[0]),
        value + math.hypot(a[2] - a[0], b[0] - b[1]),
    )


def has_share(pair: Pair, metric: Metric) -> bool:
    """Say whether a share of the teacher's score is known and has a meaning."""
    return known(pair.ratio) and metric.higher_is_better
