"""Student against reference on the same prompts: difference, ratio, test.

Both intervals come from the two single intervals and the correlation of the two numbers over
prompts (MOVER). For symmetric t intervals the difference is then the paired t interval and the
ratio Fieller's; for Wilson's intervals both keep a width when all prompts agree.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from rcm_bench.statistics.clusters import (
    Clusters,
    Floats,
    Population,
    component_ratios,
    influence,
    value_of,
)
from rcm_bench.statistics.intervals import LEVEL, Estimate, Kind, obstacle, raw_estimate
from rcm_bench.statistics.sign_flip import least_p, sign_flip_p

POWER = 0.8
NAN = float("nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Student minus reference, and student over reference, with 95 % intervals.

    Args:
        difference: Difference of the values on the common prompts.
        difference_low: Lower end.
        difference_high: Upper end.
        p: Two-sided p-value: of the sign-flip test by prompt for new prompts, which is exact for
            few prompts too; of Student's t over seeds for the same prompts. NaN untested.
        p_least: Smallest p-value that the test could have given with so many prompts.
        detectable: Smallest true difference that would be found 4 times in 5 (two-sided 5 %,
            before Holm), from this interval's width; NaN without an interval.
        ratio: Student over reference.
        ratio_low: Lower end; NaN where the reference cannot be told from zero.
        ratio_high: Upper end.
        method: How, or ``"no interval: <why>"``.
    """

    difference: float
    difference_low: float
    difference_high: float
    p: float
    p_least: float
    detectable: float
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


def correlated(
    student: Clusters, reference: Clusters, kind: Kind, population: Population
) -> tuple[Estimate, Estimate, float]:
    """Return both estimates and their correlation; given the prompts they are independent."""
    rho = _correlation(student, reference) if population == "new prompts" else 0.0
    return (
        raw_estimate(student, kind, population),
        raw_estimate(reference, kind, population),
        rho,
    )


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


def detectable_difference(half_width: float, df: float) -> float:
    """Return the smallest difference that a two-sided 5 % test finds with 80 % power.

    (t_0.975 + t_0.8) se, where se = half_width / t_0.975 (Bloom 1995; Miller 2024, section 5).

    Args:
        half_width: Half the width of the 95 % interval of the paired difference.
        df: Degrees of freedom of its quantile.
    """
    level, power = special.stdtrit(df, [0.5 + LEVEL / 2, POWER])
    return float((level + power) * half_width / level)


def _degrees(student: Clusters, reference: Clusters, population: Population) -> float:
    """Prompts minus strata, or samples minus prompts where only seeds are new."""
    n = len(student.strata)
    if population == "new prompts":
        return float(n - len(np.unique(student.strata)))
    return float(student.num_seeds().sum() + reference.num_seeds().sum() - 2 * n)


def _p_same_prompts(a: Estimate, b: Estimate, df: float) -> float:
    """Student's t of two estimates that are independent given the prompts."""
    return float(2 * special.stdtr(df, -abs(a.value - b.value) / np.hypot(a.se, b.se)))


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
    bare = _tested(student, reference, population, ratio)
    why = obstacle(student, population) or obstacle(reference, population)
    if why is not None:
        return replace(bare, method=f"no interval: {why}")
    first, second, rho = correlated(student, reference, kind, population)
    low, high = mover_difference(first, second, rho)
    if not high > low:
        return replace(bare, method="no interval: all prompts differ by the same amount")
    ends = mover_ratio(first, second, rho) if ratio else (NAN, NAN)
    df = _degrees(student, reference, population)
    test = "sign-flip test by prompt"
    if population == "same prompts":
        bare = replace(bare, p=_p_same_prompts(first, second, df), p_least=0.0)
        test = "Student t test over seeds"
    return replace(
        bare,
        difference_low=low,
        difference_high=high,
        detectable=detectable_difference((high - low) / 2, df),
        ratio_low=ends[0],
        ratio_high=ends[1],
        method=f"MOVER from {first.method.split(',')[0]} intervals, {test}",
    )


def _tested(
    student: Clusters, reference: Clusters, population: Population, ratio: bool
) -> Comparison:
    """Return difference, ratio and, for new prompts, the test, which needs no interval."""
    a, b = value_of(student), value_of(reference)
    tested = population == "new prompts" and np.isfinite(a - b)
    return Comparison(
        difference=a - b,
        difference_low=NAN,
        difference_high=NAN,
        p=sign_flip_p(contributions(student, reference)) if tested else NAN,
        p_least=least_p(len(student.strata)) if tested else NAN,
        detectable=NAN,
        ratio=a / b if ratio and b > 0 else NAN,
        ratio_low=NAN,
        ratio_high=NAN,
        method="",
    )
