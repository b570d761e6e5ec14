"""Many tests at once."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return Holm's adjusted p-values (Holm 1979), in the order given.

    p_(k) -> max_{j <= k} min(1, (m - j + 1) p_(j)) over the m values that are there; NaN stays NaN
    and is not counted in m.

    Args:
        p: (m,) p-values of one family.
    """
    raw = np.asarray(p, dtype=np.float64)
    adjusted = np.full(raw.shape, np.nan)
    there = np.flatnonzero(~np.isnan(raw))
    order = there[np.argsort(raw[there], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps * raw[order]))
    return adjusted


def can_pass(least: ArrayLike, alpha: float = 0.05) -> NDArray[np.bool_]:
    """Say which tests of a family could have been significant whatever the data (Tarone 1990).

    A test whose smallest attainable p-value is above alpha / m cannot pass among m; it is left out,
    which lowers m for the rest. m is the smallest number such that at most m tests have
    least <= alpha / m; it depends on the numbers of prompts only, so Holm over the rest is valid.

    Args:
        least: (m,) smallest attainable p-values; NaN where there is no test.
        alpha: Family-wise level.
    """
    attainable = np.asarray(least, dtype=np.float64)
    for num in range(1, len(attainable) + 1):
        passing = attainable <= alpha / num
        if passing.sum() <= num:
            return np.asarray(passing, dtype=np.bool_)
    return np.zeros(attainable.shape, dtype=np.bool_)
