"""What an update of a method costs: passes of the network over a batch, counted as they happen."""

import functools
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rcm_distill.analytic import Gaussian, GaussianConsistency, GaussianMeanFlow
from rcm_distill.denoiser import Denoiser, Prediction
from rcm_distill.objectives.protocol import Batch
from rcm_distill.tangent import Tangent, tangent

FORWARD, GRADIENT, TANGENT = 1, 3, 2
"""Passes without gradients, with gradients (the backward pass is twice a forward), and tangents."""
_BATCH = 4


class Cost(NamedTuple):
    """Means over iterations after warm-up.

    Attributes:
        passes: Compute of an iteration, in passes over a batch.
        updates: Student updates in an iteration.
    """

    passes: float
    updates: float

    def iterations(self, compute: int) -> int:
        """Return how many iterations a budget pays for."""
        return max(1, int(compute / self.passes))


@dataclass(eq=False)
class _Counted:
    denoiser: Denoiser
    spent: Counter[str]

    def __call__(
        self, x_t: Tensor, t_B: Tensor, cond: Any, *, s_B: Tensor | None = None
    ) -> Prediction:
        found = self.denoiser(x_t, t_B, cond, s_B=s_B)
        learns = torch.is_grad_enabled() and found.F.requires_grad
        self.spent["passes"] += len(x_t) * (GRADIENT if learns else FORWARD)
        return found

    def tangent(
        self, x_t: Tensor, t_B: Tensor, dx: Tensor, dt_B: Tensor, cond: Any, **ends: Any
    ) -> Tangent:
        self.spent["passes"] += len(x_t) * TANGENT
        return tangent(self.denoiser, x_t, t_B, dx, dt_B, cond, **ends)


@functools.cache
def cost_of(objective: Any) -> Cost:
    """Run one whole turn of an objective on Gaussians known in closed form, and count.

    Args:
        objective: Its iterations after warm-up are counted.
    """
    spent: Counter[str] = Counter()
    kind = GaussianMeanFlow if "end_time" in objective.needs else GaussianConsistency
    learned = [torch.tensor(value, requires_grad=True) for value in (0.1, 0.6, 0.2, 0.7)]
    student = _Counted(kind(*learned[:2]), spent)
    teacher, critic = _Counted(Gaussian(0.0, 0.5), spent), _Counted(Gaussian(*learned[2:]), spent)
    rng = torch.Generator().manual_seed(0)
    label = torch.zeros(_BATCH, 1)
    batch = Batch(torch.zeros(_BATCH, 2), label, label, (_BATCH, 2))
    start = getattr(objective, "tangent_warmup", 0)
    # After so many iterations both networks have had every number of simulated steps as often.
    turn = getattr(objective, "student_update_freq", 1) * getattr(objective, "num_steps_max", 1)
    for step in range(start, start + turn):
        if objective.phase(step) == "critic":
            objective.critic_loss(student, critic, batch, rng=rng, step=step)
        else:
            objective(student, teacher, critic, batch, rng=rng, step=step)
            spent["updates"] += 1
    return Cost(spent["passes"] / _BATCH / turn, spent["updates"] / turn)
