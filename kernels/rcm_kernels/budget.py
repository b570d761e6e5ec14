"""How far from the truth a kernel may be: at most twice as far as plain PyTorch in its dtype.

The rule's ancestor is FlashAttention's test (Dao et al., 2022): the error is at most twice that
of a PyTorch implementation. Nothing here is set by hand: the budget follows from the inputs.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

FACTOR = 2.0


class Comparison(NamedTuple):
    """One error beside what it may be.

    Attributes:
        norm: ``"maximum"`` (absolute) or ``"frobenius"`` (relative to the truth's norm).
        error: Of the kernel against the fp64 truth; infinite where a value is not finite.
        budget: The most that it may be.
    """

    norm: str
    error: float
    budget: float

    @property
    def passed(self) -> bool:
        """Say whether the error is within the budget."""
        return self.error <= self.budget


def compare(got: Tensor, plain: Sequence[Tensor], truth: Tensor) -> list[Comparison]:
    """Compare a tensor with the truth in both norms.

    budget = 2 (error of plain PyTorch in the same dtype + eps * size of the truth), with max|truth|
    as size for the maximum norm and 1 for the relative Frobenius norm. A local error hides in the
    Frobenius norm, a small error everywhere in the maximum: both must hold. Plain PyTorch's error
    is one draw of its roundings; given several, the largest counts.

    Args:
        got: What the kernel returned, in its dtype.
        plain: The same from plain PyTorch operations in the same dtype, once or more.
        truth: The same in fp64, from the same rounded inputs.

    Returns:
        One comparison for each norm.

    Raises:
        ValueError: Shapes differ, or the truth is not finite.
    """
    for name, tensor in [("got", got), *(("plain", x) for x in plain)]:
        if tensor.shape != truth.shape:
            expected, came = tuple(truth.shape), tuple(tensor.shape)
            raise ValueError(f"{name} must have shape {expected}, got {came}")
    if not truth.isfinite().all():
        raise ValueError("the truth is not finite: the case has no answer")
    eps = torch.finfo(got.dtype).eps
    size, norm = float(truth.abs().max()), float(torch.linalg.vector_norm(truth))
    errors = [x.double() - truth for x in (got, *plain)]
    error, *allowed = map(_largest, errors)
    maximum = Comparison("maximum", error, FACTOR * (max(allowed) + eps * size))
    # A truth of zeros has no relative error; absolute ones are then compared.
    error, *allowed = (_norm(x) / (norm or 1.0) for x in errors)
    frobenius = Comparison("frobenius", error, FACTOR * (max(allowed) + (eps if norm else 0.0)))
    return [maximum, frobenius]


def _largest(error: Tensor) -> float:
    return float(error.abs().max()) if error.isfinite().all() else math.inf


def _norm(error: Tensor) -> float:
    return float(torch.linalg.vector_norm(error)) if error.isfinite().all() else math.inf


def excess_over_rounding(got: Tensor, truth: Tensor) -> float:
    """Return how much error there is beyond rounding the exact answer to the dtype of ``got``.

    sqrt(e^2 - r^2) with the relative Frobenius errors e of ``got`` and r of the rounded truth: the
    error that the arithmetic adds, where the rounding of the output would drown it.
    """
    norm = torch.linalg.vector_norm(truth)
    if not got.isfinite().all():
        return math.inf
    error = float(torch.linalg.vector_norm(got.double() - truth) / norm)
    rounding = float(torch.linalg.vector_norm(truth.to(got.dtype).double() - truth) / norm)
    return math.sqrt(max(error**2 - rounding**2, 0.0))
