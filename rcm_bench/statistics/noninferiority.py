"""Non-inferiority: is a candidate at most so much worse, is it more, or can nobody tell yet?"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

Outcome = Literal["pass", "fail", "inconclusive"]


def outcome_of(low: float, high: float, margin: float) -> Outcome:
    """Judge the 95 % interval of how much worse a candidate is.

    Pass if the whole interval lies below the margin, fail if it lies above, else inconclusive. At
    a true loss equal to the margin each of the two decisions is wrong in 2.5 % of runs: the pass is
    the one-sided test of H0: loss >= margin at level 0.025. A loss that cannot be told from zero
    is not parity; without an interval nothing is decided.

    Several gates that must all pass need no correction (intersection-union test, Berger 1982).

    Args:
        low: Lower end of the interval of the loss, in the unit of the metric; NaN for none.
        high: Upper end.
        margin: Largest loss that is accepted, above 0.
    """
    if high < margin:
        return "pass"
    return "fail" if low > margin else "inconclusive"


def median_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return an interval of the median from order statistics; it covers at least ``level``.

    (x_(k), x_(n + 1 - k)), k the largest with 2 P(Binomial(n, 1/2) < k) <= 1 - level: free of any
    law of the values (David & Nagaraja, Order Statistics, 2003, section 7.1). From 6 values on for
    95 %; NaN below.

    Args:
        values: (n,) independent values.
        level: Least coverage.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    n = len(x)
    tails = special.bdtr(np.arange(n // 2), n, 0.5)
    k = int((2 * tails <= 1 - level).sum())
    if k < 1:
        return float("nan"), float("nan")
    return float(x[k - 1]), float(x[n - k])
