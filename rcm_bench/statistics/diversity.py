"""How much the samples of one prompt differ, in features: pairwise distance and Vendi score.

Legend: N samples of one prompt, D features.
"""

from typing import NamedTuple

import numpy as np

from rcm_bench.statistics.clusters import Floats


class PairSum(NamedTuple):
    """Distances over all pairs of N samples.

    Attributes:
        total: Their sum.
        pairs: Number of pairs, N (N - 1) / 2.
        within: Variance of the sum over new seeds (jackknife); NaN for N < 3.
    """

    total: float
    pairs: int
    within: float


def normalised(features: Floats) -> Floats:
    """Return rows of length 1.

    Raises:
        ValueError: A row is zero: it has no direction.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise ValueError("features must not be zero: they have no direction")
    result: Floats = features / lengths
    return result


def cosine_distances(features: Floats) -> Floats:
    """Return 1 - cos of all pairs, shape (N, N), within [0, 2]."""
    unit = normalised(features)
    # From differences: 1 - u.v would leave rounding where two samples are equal.
    return squared_distances(unit) / 2


def squared_distances(features: Floats) -> Floats:
    """Return squared Euclidean distances of all pairs, shape (N, N); 0 for equal rows."""
    gaps = features[:, None] - features[None]
    result: Floats = np.einsum("ijd,ijd->ij", gaps, gaps)
    return result


def pair_sum(distances: Floats) -> PairSum:
    """Sum the distances of all pairs.

    With U the mean over the P pairs and U_-i without sample i, the variance over new seeds is
    P^2 (N - 1) / N sum_i (U_-i - mean)^2, on the wide side (Efron & Stein 1981).

    Args:
        distances: (N, N), symmetric, zero on the diagonal.
    """
    count = len(distances)
    pairs = count * (count - 1) // 2
    total = float(distances.sum()) / 2
    if count < 3:
        return PairSum(total, pairs, float("nan"))
    without = (total - distances.sum(1)) / (pairs - (count - 1))
    spread = float(((without - without.mean()) ** 2).sum())
    return PairSum(total, pairs, pairs**2 * (count - 1) / count * spread)


def vendi(features: Floats) -> float:
    """Return the Vendi score: the effective number of different samples, from 1 to N.

    exp(-sum_i l_i log l_i), l the eigenvalues of K / N, K the cosines of all pairs (Friedman &
    Dieng 2023, definition 3.1).

    Args:
        features: (N, D), N >= 1.
    """
    unit = normalised(features)
    kernel = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    values = np.linalg.eigvalsh(kernel / len(unit))
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))


def vendi_within(features: Floats) -> float:
    """Return the jackknife variance of the Vendi score over new seeds; NaN for N < 3.

    (N - 1) / N sum_i (V_-i - mean)^2, V_-i without sample i.
    """
    count = len(features)
    if count < 3:
        return float("nan")
    without = np.array([vendi(np.delete(features, i, axis=0)) for i in range(count)])
    return float((count - 1) / count * ((without - without.mean()) ** 2).sum())
