"""One number with its interval: Student's t for means, Wilson's score for proportions."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy import special

from rcm_bench.statistics.clusters import (
    Clusters,
    Population,
    component_ratios,
    influence,
    shares,
    value_of,
)

LEVEL = 0.95
MIN_PROMPTS = 20
"""Fewest prompts behind an interval; with 10 it covers up to 98 % (reports/gallery/coverage)."""
MIN_IN_STRATUM = 3
"""Fewest prompts of each stratum among them."""
PRIOR_ICC = 0.35
"""Correlation of samples of one prompt where the data are too near 0 or 1 to tell: between 0.6,
assumed for large models (facts of the field), and 0.1, measured in the laboratory."""
PRIOR_PROMPTS = 2
"""How many telling prompts the prior correlation is worth."""

Kind = Literal["proportion", "mean"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A value with its interval.

    Args:
        value: The number; NaN when a component has no scored sample.
        se: Standard error; NaN where there is no interval.
        low: Lower end of the 95 % interval.
        high: Upper end.
        method: How the interval was made, or ``"no interval: <why>"``.
    """

    value: float
    se: float
    low: float
    high: float
    method: str


class Spread(NamedTuple):
    """Variance of V and its degrees of freedom."""

    variance: float
    df: float


def _between(clusters: Clusters) -> Spread:
    """Variance over new prompts: clustered within strata, Satterthwaite's degrees of freedom."""
    u = influence(clusters)
    parts, df = [], []
    for stratum in np.unique(clusters.strata):
        own = u[clusters.strata == stratum]
        n = len(own)
        parts.append(n / (n - 1) * float(((own - own.mean()) ** 2).sum()))
        df.append(n - 1)
    return _satterthwaite(np.array(parts), np.array(df, dtype=float))


def _within(clusters: Clusters) -> Spread:
    """Variance over new seeds for the same prompts: each prompt is a stratum of its own."""
    assert clusters.within is not None
    scale = clusters.numerator.shape[1] * clusters.denominator.sum(0)
    parts = (clusters.within / scale**2).sum(1)
    return _satterthwaite(parts, clusters.num_seeds() - 1)


def _satterthwaite(parts: np.ndarray, df: np.ndarray) -> Spread:
    total = float(parts.sum())
    if total == 0:
        return Spread(0.0, float(df.sum()))
    return Spread(total, total**2 / float((parts**2 / df).sum()))


def wilson(share: float, n: float, quantile: float) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion.

    (p + q^2/2n -+ q sqrt(p (1 - p) / n + q^2 / 4n^2)) / (1 + q^2/n)   (Wilson 1927)

    Args:
        share: Proportion p in [0, 1].
        n: Number of independent trials, or the effective number.
        quantile: Quantile q of the normal (or t) distribution.
    """
    centre = share + quantile**2 / (2 * n)
    half = quantile * float(np.sqrt(share * (1 - share) / n + quantile**2 / (4 * n**2)))
    scale = 1 + quantile**2 / n
    # Rounding must not push the proportion itself, which may be 0 or 1, out of its interval.
    low, high = (centre - half) / scale, (centre + half) / scale
    return max(0.0, min(low, share)), min(1.0, max(high, share))


def _effective_number(clusters: Clusters, spread: Spread, population: Population) -> float:
    """Return the number of independent trials that would vary as much as V does.

    n_eff = V (1 - V) / (d b),  d = (m d_hat + k d_0) / (m + k),
    b = (1/C^2) sum_c R_c (1 - R_c) sum_i share_ic^2: the variance if each prompt were one trial;
    d_hat is the observed variance over b (the design effect), m the number of prompts that tell
    (not all at the same end), k and d_0 = (1 + (K - 1) rho) / K the prior. Near 0 and 1 two failing
    images decide d_hat, and the interval without the prior covers as little as 90 %.
    """
    value = value_of(clusters)
    seeds = np.maximum(clusters.num_seeds(), 1.0)
    weights = (clusters.denominator / clusters.denominator.sum(0)) ** 2
    if population == "new prompts":
        prior = float(np.mean((1 + (seeds - 1) * PRIOR_ICC) / seeds))
    else:
        weights, prior = weights / seeds[:, None], 1.0
    ratios = component_ratios(clusters)
    single = float((ratios * (1 - ratios) * weights.sum(0)).sum()) / len(ratios) ** 2
    if single <= 0 or spread.variance == 0:
        share = shares(clusters)
        alone = share**2 if population == "new prompts" else share**2 / seeds
        return 1 / (float(alone.sum()) * prior)
    top, whole = clusters.numerator.sum(1), clusters.denominator.sum(1)
    telling = min(int((top < whole).sum()), int((top > 0).sum()))
    effect = (telling * spread.variance / single + PRIOR_PROMPTS * prior) / (
        telling + PRIOR_PROMPTS
    )
    return value * (1 - value) / (effect * single)


def obstacle(clusters: Clusters, population: Population) -> str | None:
    """Say why there can be no interval, or return None."""
    counts = np.bincount(clusters.strata)
    counts = counts[counts > 0]
    if not len(counts) or not np.isfinite(value_of(clusters)):
        return "nothing was scored in at least one part of the number"
    if population == "new prompts":
        if counts.sum() < MIN_PROMPTS:
            return f"{counts.sum()} prompts, at least {MIN_PROMPTS} are needed"
        if counts.min() < MIN_IN_STRATUM:
            return f"{counts.min()} prompts in a stratum, at least {MIN_IN_STRATUM} are needed"
        return None
    if clusters.within is None:
        return "the variance over seeds of this metric is not estimated"
    if np.isnan(clusters.within).any():
        return "a prompt has fewer scored samples than a variance over seeds needs"
    return None


def _degrees(clusters: Clusters, spread: Spread, kind: Kind, population: Population) -> float:
    """Degrees of freedom of the quantile.

    For proportions prompts minus strata: Satterthwaite's number is itself estimated, from a few
    failing images near 0 and 1, and is too small on average.
    """
    if kind == "mean" or population == "same prompts":
        return spread.df
    return float(len(clusters.strata) - len(np.unique(clusters.strata)))


def raw_estimate(clusters: Clusters, kind: Kind, population: Population) -> Estimate:
    """Estimate without asking whether the data suffice; a mean without variation has no width."""
    value = value_of(clusters)
    spread = _between(clusters) if population == "new prompts" else _within(clusters)
    quantile = float(special.stdtrit(_degrees(clusters, spread, kind, population), 0.5 + LEVEL / 2))
    se = float(np.sqrt(spread.variance))
    unit = "by prompt" if population == "new prompts" else "over seeds within prompts"
    if kind == "mean":
        half = quantile * se
        method = f"Student t, df {spread.df:.0f}, standard error {unit}"
        return Estimate(value=value, se=se, low=value - half, high=value + half, method=method)
    number = _effective_number(clusters, spread, population)
    low, high = wilson(value, number, quantile)
    if se == 0:
        se = (high - low) / (2 * quantile)
    method = f"Wilson score, effective n {number:.0f}, standard error {unit}"
    return Estimate(value=value, se=se, low=low, high=high, method=method)


def estimate(
    clusters: Clusters, *, kind: Kind = "mean", population: Population = "new prompts"
) -> Estimate:
    """Estimate V with a 95 % interval.

    A proportion gets Wilson's interval with an effective number of prompts and Student's quantile,
    so that 1.00 never stands without width; its standard error is the clustered one, or half the
    interval over the quantile where all prompts agree.

    Args:
        clusters: Sums per prompt.
        kind: ``"proportion"`` for values in [0, 1] that are means of zeros and ones.
        population: New prompts with new seeds, or the same prompts with new seeds.
    """
    why = obstacle(clusters, population)
    if why is None:
        found = raw_estimate(clusters, kind, population)
        if found.high > found.low:
            return found
        why = "all prompts gave the same value"
    nan = float("nan")
    return Estimate(
        value=value_of(clusters), se=nan, low=nan, high=nan, method=f"no interval: {why}"
    )
