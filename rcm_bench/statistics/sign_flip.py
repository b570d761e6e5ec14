"""The sign-flip test: are student and reference exchangeable within prompts?"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT_UP_TO = 16
"""With this many prompts that differ, all 2^16 sign patterns are enumerated."""
NUM_FLIPS = 20_000
SEED = 20_240_501


@lru_cache(maxsize=4)
def _signs(size: int) -> NDArray[np.int8]:
    """Return the sign patterns, shape (2^size or NUM_FLIPS, size); the same for a size always."""
    if size <= EXACT_UP_TO:
        codes = np.arange(2**size, dtype=np.int64)
        bits = (codes[:, None] >> np.arange(size)).astype(np.int8) & 1
    else:
        rng = np.random.default_rng(SEED)
        bits = rng.integers(0, 2, size=(NUM_FLIPS, size), dtype=np.int8)
    return 2 * bits - 1


def sign_flip_p(differences: ArrayLike) -> float:
    """Return the two-sided p-value of sum_i d_i under independent flips of the signs.

    Exact while few prompts differ; else Monte Carlo with a fixed seed, counting the observed
    pattern as one of the draws (p = (1 + hits) / (1 + draws)), which keeps the level.

    Args:
        differences: (n,) contributions of the prompts to the difference.
    """
    d = np.asarray(differences, dtype=np.float64)
    d = np.sort(d[d != 0])
    if d.size == 0:
        return 1.0
    # Sums of the same numbers in another order differ by rounding: a tie must count as one.
    limit = abs(float(d.sum())) - 1e-12 * float(np.abs(d).sum())
    hits = sum(
        int((np.abs(signs @ d) >= limit).sum()) for signs in np.array_split(_signs(d.size), 10)
    )
    if d.size <= EXACT_UP_TO:
        return hits / float(2**d.size)
    return (1 + hits) / (1 + NUM_FLIPS)


def least_p(num_prompts: int) -> float:
    """Return the smallest p-value that `sign_flip_p` can give with so many prompts.

    2 / 2^n: all prompts differ and all in one direction.
    """
    exact = 2.0 ** (1 - num_prompts)
    return min(1.0, exact) if num_prompts <= EXACT_UP_TO else 1 / (1 + NUM_FLIPS)
