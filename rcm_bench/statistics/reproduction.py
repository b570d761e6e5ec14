"""How far two honest runs of VBench can lie apart by new seeds alone, bounded beforehand.

No variances of VBench's scores are published, but they have bounds. A video's raw score lies in
[0, 1], so that with mean m its variance is at most m (1 - m), reached by scores of 0 and 1. In a
reproduction prompts and models are the same and seeds are new, so that videos are independent:
with n prompts of K videos a dimension has variance at most m (1 - m) / (n K) (means that differ by
prompt only lower it, as m (1 - m) is concave), and the difference of two such runs twice that.

Of published models the totals are printed and the dimensions are not. The bound of a total is the
largest over all means that give the printed Quality and Semantic.
"""

from typing import Literal

import numpy as np
from scipy import optimize, special

from rcm_bench.statistics.clusters import Floats
from rcm_bench.statistics.intervals import LEVEL
from rcm_bench.statistics.vbench_dimensions import (
    DIMENSIONS,
    GROUPS,
    HIGH,
    LOW,
    NAMES,
    WEIGHT,
    Part,
    totals,
)

Together = Literal["independent", "grouped", "alike"]
"""How dimensions vary with each other: not at all; those that are scored on the same videos as if
they were one; all sixteen as if they were one, as under one seed for every video of a run."""

_PROMPTS = np.array([next(n for n, own in GROUPS if name in own) for name in NAMES])


def seed_variance(mean: float, prompts: int, videos: int) -> float:
    """Return the largest variance over seeds of a mean of scores in [0, 1].

    Args:
        mean: The mean, in [0, 1].
        prompts: Number of prompts n.
        videos: Independent videos of each, K.
    """
    if not 0 <= mean <= 1:
        raise ValueError(f"expected a mean in [0, 1], got {mean}")
    return mean * (1 - mean) / (prompts * videos)


def largest_difference(variance: float) -> float:
    """Return the half width of the 95 % interval of the difference of two runs of one variance."""
    return float(special.ndtri(0.5 + LEVEL / 2) * np.sqrt(2 * variance))


def total_variance(
    name: str, quality: float, semantic: float, videos: int, together: Together = "grouped"
) -> float:
    """Return the largest variance over seeds of Quality, Semantic or Total on the whole set.

    The number is sum_d a_d R_d + b with R_d raw dimensions. Dimensions that vary as one add up by
    their standard errors, and (sum of k errors)^2 is at most k times the sum of their squares
    (Cauchy and Schwarz); so the variance is at most sum_d c_d m_d (1 - m_d), c_d = k_d a_d^2 /
    (n_d K). That is concave in m, and its maximum under each part's sum_d b_d (m_d - low_d) is
    where derivatives agree: m_d = 1/2 - mu b_d / (2 c_d), cut to [0, 1].

    Args:
        name: ``quality``, ``semantic`` or ``total``.
        quality: The printed Quality, as a share.
        semantic: The printed Semantic, as a share.
        videos: Independent videos of each prompt, K; 1 if those of a prompt were all alike.
        together: How dimensions vary with each other.
    """
    slopes = np.array([totals(row)[name] for row in np.eye(len(NAMES))])
    slopes = slopes - totals(np.zeros(len(NAMES)))[name]
    weights = _added_up(slopes, together) * slopes**2 / (_PROMPTS * videos)
    printed: dict[Part, float] = {"quality": quality, "semantic": semantic}
    found = 0.0
    for part, value in printed.items():
        own = np.array([d.part == part for d in DIMENSIONS.values()]) & (slopes != 0)
        if own.any():
            means = _worst_means(weights[own], own, value)
            found += float((weights[own] * means * (1 - means)).sum())
    return found


def _added_up(slopes: Floats, together: Together) -> Floats:
    """Return how many dimensions of the number vary as one with each."""
    used = {name for name, slope in zip(NAMES, slopes, strict=True) if slope != 0}
    if together == "independent":
        return np.ones(len(NAMES))
    if together == "alike":
        return np.full(len(NAMES), float(len(used)))
    mates = {name: len(used & set(own)) for _, own in GROUPS for name in own}
    return np.array([float(mates[name]) for name in NAMES])


def _worst_means(weights: Floats, own: np.ndarray, value: float) -> Floats:
    """Return the raw means of one part that give its printed value and vary most."""
    share = WEIGHT[own] / WEIGHT[own].sum() / (HIGH - LOW)[own]

    def means(mu: float) -> Floats:
        found: Floats = np.clip(0.5 - mu * share / (2 * weights), 0.0, 1.0)
        return found

    def off(mu: float) -> float:
        return float(share @ (means(mu) - LOW[own]) - value)

    far = float((weights / share).max())  # beyond it every mean is 0 or 1
    if off(far) > 0 or off(-far) < 0:
        raise ValueError(f"no dimensions give a value of {value}")
    return means(float(optimize.brentq(off, -far, far, xtol=1e-15 * far)))
