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
