"""From errors per element to one number, leaving non-finite samples out by an explicit mask."""

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["sum", "mean", "mean_of_sums"]
"""Over elements and samples: sums (NVlabs/rcm at 5b41aa9), means (DMD2, FastGen's DMD2 and sCM), or
the mean over samples of sums over elements (NVlabs/rcm at 20207e5, MeanFlow)."""


def finite_samples(*tensors: Tensor) -> Tensor:
    """Return (B,) bool: which samples are finite in every one of the tensors (B, ...)."""
    masks = [torch.isfinite(x).flatten(1).all(dim=1) for x in tensors]
    return torch.stack(masks).all(dim=0)


def per_sample(values_B: Tensor, like: Tensor) -> Tensor:
    """Shape one value per sample to multiply samples (B, ...)."""
    return values_B.reshape(-1, *[1] * (like.ndim - 1))


def reduce_squares(
    error: Tensor, kept_B: Tensor, reduction: Reduction, weight_B: Tensor | None = None
) -> Tensor:
    """Reduce squared errors of the kept samples.

    A sample that is not kept gives no value, and exactly no gradient to its error, even a NaN one.
    (Where the network's own activations are NaN, its weights' gradients are NaN all the same.)

    Args:
        error: Errors (B, ...).
        kept_B: Which samples count (B,), bool.
        reduction: See ``Reduction``.
        weight_B: Weight of each sample's squares (B,).
    """
    squares_B = squares(error, kept_B, reduction, weight_B)
    return squares_B.sum() if reduction == "sum" else squares_B.sum() / kept_B.sum().clamp(min=1)


def squares(
    error: Tensor, kept_B: Tensor, reduction: Reduction, weight_B: Tensor | None = None
) -> Tensor:
    """Return the squared error (B,) of each sample, a sum or a mean over its elements.

    Args:
        error: Errors (B, ...).
        kept_B: Which samples count (B,), bool; the others have 0.
        reduction: ``"mean"`` is a mean over elements, the others are sums.
        weight_B: Weight of each sample's squares (B,).
    """
    error = torch.where(per_sample(kept_B, error), error, torch.zeros_like(error))
    squares_B = error.square().flatten(1).sum(1)
    if weight_B is not None:
        squares_B = squares_B * weight_B
    return squares_B / error[0].numel() if reduction == "mean" else squares_B
