"""Times of two configurations, compared round by round on one device. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from rcm_bench.statistics.noninferiority import median_interval

# All timings of one session are recorded in one go, within milliseconds of each other.
_SAME_SESSION_SECONDS = 1.0


class PairedRounds(NamedTuple):
    """Seconds per image of two configurations in the same rounds.

    Attributes:
        value: Median of the first.
        reference_value: Median of the second.
        difference: Median of the differences of the rounds, first minus second.
        low: Lower end of its interval, of at least 95 %.
        high: Upper end.
        n: Number of rounds.
    """

    value: float
    reference_value: float
    difference: float
    low: float
    high: float
    n: int


def paired_rounds(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]
) -> PairedRounds | str:
    """Compare times round by round, or say why they cannot be compared.

    Args:
        first: Timing records of one configuration; several if it was timed more than once.
        second: Timing records of the other.
    """
    if not first or not second:
        return "not timed: run the suite with the benchmark 'latency'"
    same_device = [(a, b) for a, b in product(first, second) if a["device"] == b["device"]]
    if not same_device:
        devices = f"{first[0]['device']} and {second[0]['device']}"
        return f"timed on two devices, {devices}: times are not comparable"
    together = [
        (a, b)
        for a, b in same_device
        if abs(_at(a) - _at(b)) <= _SAME_SESSION_SECONDS and len(a["seconds"]) == len(b["seconds"])
    ]
    if not together:
        return "not timed in the same rounds: time them in one run of the suite"
    a, b = min(together, key=lambda both: str(both[0]["at"]))
    one, two = (np.asarray(record["seconds"], dtype=np.float64) for record in (a, b))
    low, high = median_interval(one - two)
    if np.isnan(low):
        return f"{len(one)} rounds are too few for an interval"
    return PairedRounds(
        value=float(np.median(one)),
        reference_value=float(np.median(two)),
        difference=float(np.median(one - two)),
        low=low,
        high=high,
        n=len(one),
    )


def _at(record: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(str(record["at"])).timestamp()
