"""dCM: discrete consistency distillation along a teacher's Euler steps (Song et al. 2023)."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser, GuidanceForm, guided
from rcm_distill.objectives._reduce import Reduction, finite_samples, reduce_squares
from rcm_distill.objectives.protocol import (
    Batch,
    LossTerms,
    Phase,
    data_of,
    noise_for,
    required,
)
from rcm_distill.time import trig, trig_from_rf


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Consistency of x0 over ``skip`` Euler steps of the guided teacher.

    L = weight ||x0(x_t, t) - sg(x0(x_t', t'))||^2 (2303.01469, equation 7, with the student's own
    weights as target), where x_t' comes from x_t by x <- x - (t_j - t_(j+1)) F_teacher in TrigFlow,
    t_j = trig(shift(1 - u - j / num_steps)). The loss of NVlabs/rcm at 5b41aa9 by default.

    With ``start="grid"`` the fixed point is the Euler-discretised map, x_t taken to t = 0 by
    Euler's method on the grid, for any skip: there the gradient is zero in every draw. It is off
    the exact consistency function by O(1 / num_steps). With ``start="uniform"`` times below
    skip / num_steps are met as targets only, so that the fixed point is not unique.

    Attributes:
        num_steps: Intervals of the grid.
        skip: Euler steps from t to t'.
        shift: Above 1 moves times towards noise.
        start: u ``"uniform"`` in [0, 1 - skip / num_steps] (NVlabs/rcm), or on the ``"grid"`` of
            all j / num_steps, where steps that would pass t = 0 are left out.
        weight: Factor of the loss.
        teacher_guidance: Guidance scale of the teacher.
        guidance_form: What the scale means.
        reduction: ``"sum"``, ``"mean"`` or ``"mean_of_sums"`` over elements and samples.
    """

    num_steps: int = 48
    skip: int = 1
    shift: float = 5.0
    start: Literal["uniform", "grid"] = "uniform"
    weight: float = 100.0
    teacher_guidance: float = 1.0
    guidance_form: GuidanceForm = "u + s(c - u)"
    reduction: Reduction = "sum"

    def __post_init__(self) -> None:
        """Refuse a skip that the grid does not hold, and a shift that is not positive."""
        if not 1 <= self.skip <= self.num_steps:
            raise ValueError(f"skip must be in [1, num_steps = {self.num_steps}], got {self.skip}")
        if self.shift <= 0:
            raise ValueError(f"shift must be positive, got {self.shift}")

    @property
    def needs(self) -> frozenset[str]:
        """Return what the method uses: data and teacher."""
        return frozenset({"data", "teacher"})

    def phase(self, step: int) -> Phase:
        """Return "student": nobody else learns."""
        return "student"

    def variant(self, step: int) -> Hashable:
        """Return all that is decided on the host in an iteration: nothing."""
        return self.phase(step)

    def __call__(
        self,
        student: Denoiser,
        teacher: Denoiser | None,
        critic: Denoiser | None,
        batch: Batch,
        *,
        rng: Generator,
        step: int,
    ) -> LossTerms:
        """Return the student's loss; the critic is not used."""
        strong = guided(
            required(teacher, "teacher"), self.teacher_guidance, batch.uncond, self.guidance_form
        )
        x0 = data_of(batch)
        times = self._times(x0, rng)
        cos_t, sin_t = trig(times[0], like=x0)
        x_t = cos_t * x0 + sin_t * noise_for(batch, rng)
        with torch.no_grad():
            x_end = euler(strong, x_t, times, batch.cond)
            target = student(x_end, times[-1], batch.cond).x0
        error = student(x_t, times[0], batch.cond).x0 - target
        kept_B = finite_samples(error.detach())
        loss = self.weight * reduce_squares(error, kept_B, self.reduction)
        squares_B = torch.where(kept_B, error.detach().square().flatten(1).mean(1), 0.0)
        rms = squares_B.sqrt().sum() / kept_B.sum().clamp(min=1)
        return LossTerms(loss, {"dcm": loss.detach(), "jump_rms": rms}, (~kept_B).sum())

    def critic_loss(
        self, student: Denoiser, critic: Denoiser, batch: Batch, *, rng: Generator, step: int
    ) -> LossTerms:
        """Refuse: the method has no critic."""
        raise ValueError("dcm has no critic")

    def _times(self, x0: Tensor, rng: Generator) -> list[Tensor]:
        """Draw the times (B,) from t to t', ``skip + 1`` of them."""
        n, device = len(x0), rng.device
        if self.start == "grid":
            index = torch.randint(self.num_steps, (n,), generator=rng, device=device)
            u = index.to(x0.dtype) / self.num_steps
        else:
            u = torch.rand(n, generator=rng, device=device).to(x0.dtype)
            u = u * (1 - self.skip / self.num_steps)
        return [self.time(u + j / self.num_steps) for j in range(self.skip + 1)]

    def time(self, u: Tensor) -> Tensor:
        """Return the TrigFlow times of grid places u: 0 is noise, 1 and beyond is data."""
        left = (1 - u).clamp(min=0)
        return trig_from_rf(self.shift * left / (1 + (self.shift - 1) * left))


def euler(denoiser: Denoiser, x_t: Tensor, times: list[Tensor], cond: object) -> Tensor:
    """Follow a denoiser's flow from times[0] to times[-1], each (B,), by Euler's method."""
    for t_B, next_B in zip(times, times[1:], strict=False):
        gap = (t_B - next_B).reshape(-1, *[1] * (x_t.ndim - 1))
        x_t = x_t - gap * denoiser(x_t, t_B, cond).F
    return x_t
