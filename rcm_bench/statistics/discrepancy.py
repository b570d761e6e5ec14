"""CMMD: squared maximum mean discrepancy of two sets of features under a Gaussian kernel.

Legend: R real samples, F fake samples, D features.
"""

import numpy as np

from rcm_bench.statistics.clusters import Floats
from rcm_bench.statistics.diversity import normalised

SIGMA = 10.0
SCALE = 1000.0


def contributions(real: Floats, fake: Floats, sigma: float = SIGMA) -> Floats:
    """Return what each fake sample adds; their mean is the unbiased estimate, times 1000.

    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j),
    k(a, b) = exp(-|a - b|^2 / (2 sigma^2)), features of length 1, sigma = 10 (Jayasumana et al.
    2024, equation 4 and section 4). A fake sample y_j adds the mean over all others.

    Differs from the published code, whose diagonal is kept, and which so is biased upwards.

    Args:
        real: (R, D), R > 1.
        fake: (F, D), F > 1.
        sigma: Width of the kernel.
    """
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"expected 2 samples on each side, got {len(real)} and {len(fake)}")
    a, b = normalised(real), normalised(fake)
    within = _others(_kernel(a, a, sigma)).mean()
    own = _others(_kernel(b, b, sigma))
    found: Floats = SCALE * (within + own - 2 * _kernel(b, a, sigma).mean(1))
    return found


def _kernel(a: Floats, b: Floats, sigma: float) -> Floats:
    """Return k - 1, (A, B), which keeps the digits that a wide kernel would lose; 1 cancels."""
    result: Floats = np.expm1((a @ b.T - 1) / sigma**2)
    return result


def _others(kernel: Floats) -> Floats:
    """Return each row's mean without its diagonal."""
    result: Floats = (kernel.sum(1) - np.diag(kernel)) / (len(kernel) - 1)
    return result
