"""sCM's adaptive weight: a learned function of time that evens the loss out (2410.11081)."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from rcm_distill.objectives._reduce import Reduction


@runtime_checkable
class Weighted(Protocol):
    """A student that carries the logarithm of its loss over time."""

    def log_weight(self, t_B: Tensor) -> Tensor:
        """Return w (B,) at TrigFlow times (B,)."""
        ...


def weighted_loss(
    squares_B: Tensor, log_weight_B: Tensor, kept_B: Tensor, reduction: Reduction
) -> Tensor:
    """Reduce e^(-w(t)) S + w(t), whose least value over w is at w(t) = log E[S | t].

    There every time has the loss 1 + w(t) and the student's gradient is that of S / E[S | t].
    Lu and Song (2410.11081, equation 8; after EDM2, 2312.02696, equation 21) write -w for w.

    Args:
        squares_B: S (B,), squared error of each sample; over D where losses are means.
        log_weight_B: w (B,) at the samples' times.
        kept_B: Which samples count (B,), bool.
        reduction: ``"sum"`` or ``"mean"`` over samples.
    """
    each_B = torch.exp(-log_weight_B) * squares_B + log_weight_B
    total = torch.where(kept_B, each_B, torch.zeros_like(each_B)).sum()
    return total if reduction == "sum" else total / kept_B.sum().clamp(min=1)


def log_weight(student: object, t_B: Tensor) -> Tensor:
    """Return the student's w (B,).

    Raises:
        ValueError: It has none.
    """
    if not isinstance(student, Weighted):
        raise ValueError(
            f"a learned weight needs a student with log_weight(t_B), got {type(student).__name__}"
        )
    return student.log_weight(t_B)
