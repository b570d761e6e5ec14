"""Student against reference on the same prompts: difference, ratio, test.

Both intervals come from the two single intervals and the correlation of the two numbers over
prompts (MOVER). For symmetric t intervals the difference is then the paired t interval and the
ratio Fieller's; for Wilson's intervals both keep a width when all prompts agree.
"""

from dataclasses import dataclass

import numpy as np

from rcm_bench.statistics.clusters import (
    Clusters,
    Floats,
    Population,
    component_ratios,
    influence,
    value_of,
)
from rcm_bench.statistics.intervals import Estimate, Kind, obstacle, raw_estimate
from rcm_bench.statistics.sign_flip import sign_flip_p

NAN = float("nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Student minus reference, and student over reference, with 95 % intervals.

    Args:
        difference: Difference of the values on the common prompts.
        difference_low: Lower end.
        difference_high: Upper end.
        p: Two-sided p-value of the sign-flip test by prompt; NaN without an interval.
        ratio: Student over reference.
        ratio_low: Lower end; NaN where the reference cannot be told from zero.
        ratio_high: Upper end.
        method: How, or ``"no interval: <why>"``.
    """

    difference: float
    difference_low: float
    difference_high: float
    p: float
    ratio: float
    ratio_low: float
    ratio_high: float
    method: str


def mover_difference(a: Estimate, b: Estimate, correlation: float) -> tuple[float, float]:
    """Return the interval of a - b from the intervals of a and b.

    low = d - sqrt(x^2 + y^2 - 2 rho x y),  x = a - low_a, y = high_b - b; high likewise
    (Newcombe 1998, method 10; Zou & Donner 2008, eq. 4).

    Args:
        a: First number.
        b: Second number.
        correlation: Correlation rho of the two.
    """

    def width(x: float, y: float) -> float:
        return float(np.sqrt(max(0.0, x * x + y * y - 2 * correlation * x * y)))

    d = a.value - b.value
    low = d - width(a.value - a.low, b.high - b.value)
    return low, d + width(a.high - a.value, b.value - b.low)


def mover_ratio(a: Estimate, b: Estimate, correlation: float) -> tuple[float, float]:
    """Return the interval of a / b from the intervals of a and b.

    NaN if b may be zero, or if the interval would have no width (a is 0 throughout).

    The limits R solve (a - R b)^2 = x^2 + R^2 y^2 - 2 rho R x y, x and y as in the difference
    a - R b (Donner & Zou 2012, eq. 8); for symmetric intervals that is Fieller's theorem.

    Args:
        a: First number, at least 0.
        b: Second number, above 0.
        correlation: Correlation rho of the two.
    """

    def root(x: float, y: float, sign: float) -> float:
        lead = b.value**2 - y**2
        middle = a.value * b.value - correlation * x * y
        inside = middle**2 - lead * (a.value**2 - x**2)
        return (middle + sign * float(np.sqrt(max(inside, 0.0)))) / lead if lead > 0 else NAN

    if not b.low > 0:
        return NAN, NAN
    low = max(0.0, root(a.value - a.low, b.high - b.value, -1.0))
    high = root(a.high - a.value, b.value - b.low, 1.0)
    return (low, high) if high > low else (NAN, NAN)


def _correlation(student: Clusters, reference: Clusters) -> float:
    """Correlation over prompts within strata; 0 where one of the two does not vary."""
    a, b = influence(student), influence(reference)
    for stratum in np.unique(student.strata):
        rows = student.strata == stratum
        # n / (n - 1) as in the variances, so that the correlation fits them.
        scale = np.sqrt(rows.sum() / (rows.sum() - 1))
        a[rows] = scale * (a[rows] - a[rows].mean())
        b[rows] = scale * (b[rows] - b[rows].mean())
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def contributions(student: Clusters, reference: Clusters) -> Floats:
    """Return each prompt's contribution to the difference, shape (n,); they sum to it.

    With equal denominators that is the prompt's own difference over n; unequal ones are
    linearised, and the difference itself is shared out by the mean denominators.
    """
    gap = component_ratios(student) - component_ratios(reference)
    share = (
        student.denominator / student.denominator.sum(0)
        + reference.denominator / reference.denominator.sum(0)
    ) / 2
    result: Floats = influence(student) - influence(reference) + (share * gap).mean(1)
    return result


def compare(
    student: Clusters,
    reference: Clusters,
    *,
    kind: Kind = "mean",
    population: Population = "new prompts",
    ratio: bool = True,
) -> Comparison:
    """Compare two models on the same prompts.

    Args:
        student: Sums per prompt of the model in question.
        reference: Sums of the same prompts, in the same order, of the model it is compared with.
        kind: As in `estimate`.
        population: As in `estimate`; for the same prompts the two are independent given the prompt.
        ratio: False for units without a zero, such as dB: no ratio is given.
    """
    if not np.array_equal(student.strata, reference.strata):
        raise ValueError("student and reference must hold the same prompts in the same order")
    a, b = value_of(student), value_of(reference)
    quotient = a / b if ratio and b > 0 else NAN
    why = obstacle(student, population) or obstacle(reference, population)
    if why is not None:
        return _no_interval(a - b, quotient, why)
    first = raw_estimate(student, kind, population)
    second = raw_estimate(reference, kind, population)
    rho = _correlation(student, reference) if population == "new prompts" else 0.0
    low, high = mover_difference(first, second, rho)
    if not high > low:
        return _no_interval(a - b, quotient, "all prompts differ by the same amount")
    ends = mover_ratio(first, second, rho) if ratio else (NAN, NAN)
    return Comparison(
        difference=a - b,
        difference_low=low,
        difference_high=high,
        p=sign_flip_p(contributions(student, reference)),
        ratio=quotient,
        ratio_low=ends[0],
        ratio_high=ends[1],
        method=f"MOVER from {first.method.split(',')[0]} intervals, sign-flip test by prompt",
    )


def _no_interval(difference: float, ratio: float, why: str) -> Comparison:
    return Comparison(
        difference=difference,
        difference_low=NAN,
        difference_high=NAN,
        p=NAN,
        ratio=ratio,
        ratio_low=NAN,
        ratio_high=NAN,
        method=f"no interval: {why}",
    )
