"""The sign-flip test: are student and reference exchangeable within prompts?"""

import numpy as np
from numpy.typing import ArrayLike

EXACT_UP_TO = 16
"""With this many prompts that differ, all 2^16 sign patterns are enumerated."""
NUM_FLIPS = 20_000
SEED = 20_240_501


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
    if d.size <= EXACT_UP_TO:
        codes = np.arange(2**d.size, dtype=np.int64)
        bits = (codes[:, None] >> np.arange(d.size)) & 1
        return float((np.abs((2 * bits - 1) @ d) >= limit).mean())
    rng = np.random.default_rng(SEED)
    hits = 0
    for _ in range(10):
        bits = rng.integers(0, 2, size=(NUM_FLIPS // 10, d.size), dtype=np.int8)
        hits += int((np.abs(2 * (bits @ d) - d.sum()) >= limit).sum())
    return (1 + hits) / (1 + NUM_FLIPS)
