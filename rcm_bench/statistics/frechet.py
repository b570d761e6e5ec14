"""Frechet distance of two sets of features as normal laws (FID), with what each sample adds.

Legend: R real samples, F fake samples, D features.
"""

import numpy as np

from rcm_bench.statistics.clusters import Floats


def contributions(real: Floats, fake: Floats) -> Floats:
    """Return F values whose mean is the distance, to first order each sample's part in it.

    FID = |m - n|^2 + tr(S + T - 2 (S T)^(1/2)), m, S mean and covariance of the fake set, n, T of
    the real one (Heusel et al. 2017, equation 6). A fake sample y adds

        FID + 2 (m - n).(y - m) + (y - m)^T (1 - A) (y - m) - tr((1 - A) S),

    its influence function, A = T^(1/2) (T^(1/2) S T^(1/2))^(-1/2) T^(1/2) the transport from S to
    T. FID depends on the number of samples and is biased upwards: compare equal numbers only.

    Args:
        real: (R, D), R > 1.
        fake: (F, D), F > 1.
    """
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"expected 2 samples on each side, got {len(real)} and {len(fake)}")
    mean, other = fake.mean(0), real.mean(0)
    own, target = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (fake, real))
    root = _power(target, 0.5)
    middle = root @ own @ root
    transport = root @ _power(middle, -0.5) @ root
    gap = mean - other
    trace = np.trace(own) + np.trace(target) - 2 * np.trace(_power(middle, 0.5))
    value = float(gap @ gap + trace)
    away = fake - mean
    curved = (away**2).sum(1) - np.einsum("id,de,ie->i", away, transport, away, optimize=True)
    influence = 2 * away @ gap + curved
    # The mean of both terms over the samples is taken off, so that they sum to nothing.
    found: Floats = value + influence - influence.mean()
    return found


def _power(matrix: Floats, exponent: float) -> Floats:
    """Return a power of a symmetric matrix; directions without variance are left out."""
    values, vectors = np.linalg.eigh(matrix)
    least = values.max() * len(values) * np.finfo(np.float64).eps
    there = values > least
    powers = np.zeros_like(values)
    powers[there] = values[there] ** exponent
    result: Floats = (vectors * powers) @ vectors.T
    return result
