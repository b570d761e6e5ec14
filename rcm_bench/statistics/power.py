"""How many prompts and seeds a wished margin needs, and what a design can tell apart.

The difference of two models over n prompts with K seeds each has variance

    (w^2 + s_A^2 / K + s_B^2 / K) / n

w^2 the variance over prompts of the difference of the two prompt means, s^2 the variance of one
sample over seeds (a two-level random-effects model; Snijders & Bosker, Multilevel Analysis, 2012,
chapter 11). A gate with margin d passes a candidate that is as good as its reference with power
1 - b if

    n >= (z_{a/2} + z_b)^2 (w^2 + s_A^2 / K + s_B^2 / K) / d^2;

the same n tells a true difference d from zero with that power. Seeds shrink only the second part:
beyond K of about (s_A^2 + s_B^2) / w^2 they buy little.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from rcm_bench.statistics.clusters import Clusters
from rcm_bench.statistics.intervals import LEVEL
from rcm_bench.statistics.paired import contributions


@dataclass(frozen=True, kw_only=True, slots=True)
class Variances:
    """What the difference of two models varies by, in the metric's unit squared.

    Args:
        between: Variance over prompts of the difference of the prompt means, w^2.
        within: Sum of the two variances of one sample over seeds, s_A^2 + s_B^2; NaN where a
            metric cannot tell (one made of pairs of seeds, or one seed a prompt).
        at: Number of seeds that ``total`` holds for.
        total: w^2 + (s_A^2 + s_B^2) / ``at``.
    """

    between: float
    within: float
    at: int
    total: float

    def of(self, num_seeds: int) -> float:
        """Return w^2 + (s_A^2 + s_B^2) / K; NaN where only the pilot's K is known."""
        return self.total if num_seeds == self.at else self.between + self.within / num_seeds


def planned(*, accuracy: float, icc: float, correlation: float) -> Variances:
    """Return the variances of two equally good models that answer right or wrong.

    Args:
        accuracy: Share of right answers p, of both.
        icc: Correlation of two samples of one prompt: the share of p (1 - p) that lies between
            prompts.
        correlation: Correlation of the two models' prompt means.
    """
    single = accuracy * (1 - accuracy)
    between = 2 * icc * single * (1 - correlation)
    within = 2 * (1 - icc) * single
    return Variances(between=between, within=within, at=1, total=between + within)


def measured(student: Clusters, reference: Clusters, num_seeds: int) -> Variances:
    """Estimate the variances from a pilot, scaled to one prompt.

    Strata count in the proportions of the pilot. An estimate of w^2 below 0, which chance allows,
    is taken as 0.

    Args:
        student: Sums per prompt of one model.
        reference: Sums of the same prompts of the other.
        num_seeds: Seeds for each prompt, K.
    """
    n = len(student.strata)
    parts = contributions(student, reference)
    variance = 0.0
    for stratum in np.unique(student.strata):
        own = parts[student.strata == stratum]
        if len(own) < 2:
            return Variances(between=math.nan, within=math.nan, at=num_seeds, total=math.nan)
        variance += len(own) / (len(own) - 1) * float(((own - own.mean()) ** 2).sum())
    total = n * variance
    within = num_seeds * n * (_over_seeds(student) + _over_seeds(reference))
    between = total - within / num_seeds
    return Variances(
        between=between if math.isnan(between) else max(0.0, between),
        within=within,
        at=num_seeds,
        total=total,
    )


def _over_seeds(clusters: Clusters) -> float:
    """Return the variance of the number over new seeds for the same prompts."""
    if clusters.within is None:
        return math.nan
    scale = clusters.numerator.shape[1] * clusters.denominator.sum(0)
    return float((clusters.within / scale**2).sum())


def num_prompts(variances: Variances, num_seeds: int, margin: float, power: float) -> int | None:
    """Return how many prompts a margin needs; None where the variance is not known.

    Args:
        variances: What the difference varies by.
        num_seeds: Seeds for each prompt, K.
        margin: Difference d in the metric's unit, above 0.
        power: Probability 1 - b of telling.
    """
    variance = variances.of(num_seeds)
    if math.isnan(variance):
        return None
    return max(2, math.ceil(_quantiles(power) ** 2 * variance / margin**2))


def detectable(variances: Variances, num_prompts: int, num_seeds: int, power: float) -> float:
    """Return the smallest difference that a design tells with this power; NaN if not known."""
    return _quantiles(power) * math.sqrt(variances.of(num_seeds) / num_prompts)


def _quantiles(power: float) -> float:
    return float(special.ndtri(0.5 + LEVEL / 2) + special.ndtri(power))
