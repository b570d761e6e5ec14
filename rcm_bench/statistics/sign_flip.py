"""The sign-flip test: are student and reference exchangeable within prompts?"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT_UP_TO = 16
"""With this many prompts that differ, all 2^16 sign patterns are enumerated."""
NUM_FLIPS = 20_000
SEED = 20_240_501


BYTE_SIGNS = 2.0 * ((np.arange(256)[:, None] >> np.arange(7, -1, -1)) & 1) - 1
"""Signs that the eight bits of a byte stand for, shape (256, 8)."""


@lru_cache(maxsize=64)
def _codes(size: int) -> NDArray[np.uint8]:
    """Return sign patterns, eight signs a byte, shape (ceil(size / 8), 2^size or NUM_FLIPS).

    The same for a size always.
    """
    if size <= EXACT_UP_TO:
        codes = np.arange(2**size, dtype=np.int64)
        bits = (codes[:, None] >> np.arange(size)).astype(np.int8) & 1
    else:
        rng = np.random.default_rng(SEED)
        bits = rng.integers(0, 2, size=(NUM_FLIPS, size), dtype=np.int8)
    return np.ascontiguousarray(np.packbits(bits, axis=1).T)


def _flipped_sums(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sum_i +-sizes_i of every pattern: one look-up for eight signs."""
    codes = _codes(sizes.size)
    eights = np.zeros(8 * len(codes))
    eights[: sizes.size] = sizes
    sums = np.zeros(codes.shape[1])
    for code, table in zip(codes, eights.reshape(-1, 8) @ BYTE_SIGNS.T, strict=True):
        sums += table.take(code)
    return sums


def sign_flip_p(differences: ArrayLike) -> float:
    """Return the two-sided mid-p-value of sum_i d_i under independent flips of the signs.

    P(|S| > |s|) + P(|S| = |s|) / 2 (Lancaster 1961). Sums of quarters tie often: with the whole of
    P(|S| = |s|) a test at 5 % alarms in 3 to 4 % of runs without a difference, with half of it in
    5 % (reports/gallery/coverage). Enumerated while few prompts differ; else Monte Carlo with a
    fixed seed, the observed pattern being one of the draws.

    Args:
        differences: (n,) contributions of the prompts to the difference.
    """
    d = np.asarray(differences, dtype=np.float64)
    # Sizes, sorted: neither the order of prompts nor that of the two models changes the draws.
    sizes = np.sort(np.abs(d[d != 0]))
    if sizes.size == 0:
        return 1.0
    # Sums of the same numbers in another order differ by rounding: a tie must count as one.
    observed, rounding = abs(float(d.sum())), 1e-12 * float(sizes.sum())
    sums = np.abs(_flipped_sums(sizes))
    beyond = int((sums > observed + rounding).sum())
    reached = int((sums >= observed - rounding).sum())
    if sizes.size <= EXACT_UP_TO:
        return (beyond + reached) / 2.0 ** (sizes.size + 1)
    return (beyond + reached + 1) / (2 * (1 + NUM_FLIPS))


def least_p(num_prompts: int) -> float:
    """Return the smallest p-value that `sign_flip_p` can give with so many prompts.

    1 / 2^n: all prompts differ and all in one direction.
    """
    if num_prompts <= EXACT_UP_TO:
        return 2.0**-num_prompts
    return 1 / (2 * (1 + NUM_FLIPS))
