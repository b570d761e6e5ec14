"""Flow matching: the loss that trains a teacher, and a critic."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser, map_conditions
from rcm_distill.objectives._reduce import (
    Reduction,
    finite_samples,
    per_sample,
    reduce_squares,
)
from rcm_distill.objectives.protocol import Batch, LossTerms, Phase, data_of, noise_for
from rcm_distill.objectives.time_law import LogitNormal, TimeLaw
from rcm_distill.time import trig

Velocity = Literal["rectified_flow", "trigflow"]


class FlowMatchingTerm(NamedTuple):
    """A flow matching loss, and which samples (B,) are in it."""

    loss: Tensor
    kept_B: Tensor


def flow_matching_term(
    denoiser: Denoiser,
    x0: Tensor,
    eps: Tensor,
    t_B: Tensor,
    cond: object,
    *,
    velocity: Velocity,
    reduction: Reduction,
) -> FlowMatchingTerm:
    """Compute ||F(x_t, t) - (cos t eps - sin t x0)||^2, x_t = cos t x0 + sin t eps.

    The error of the rectified-flow velocity is the same times (cos t + sin t), since
    v = (cos t + sin t) F - (cos t - sin t) x_t.

    Args:
        denoiser: Whose F learns.
        x0: Clean samples (B, ...).
        eps: Noise (B, ...).
        t_B: TrigFlow times (B,).
        cond: Condition per sample.
        velocity: Which velocity's error is squared.
        reduction: ``"sum"``, ``"mean"`` or ``"mean_of_sums"`` over elements and samples.
    """
    cos_t, sin_t = trig(t_B, like=x0)
    F = denoiser(cos_t * x0 + sin_t * eps, t_B, cond).F
    error = F - (cos_t * eps - sin_t * x0)
    if velocity == "rectified_flow":
        error = (cos_t + sin_t) * error
    kept_B = finite_samples(error.detach())
    return FlowMatchingTerm(reduce_squares(error, kept_B, reduction), kept_B)


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Rectified flow (Liu et al. 2022; Lipman et al. 2022) on data, with label dropout.

    L = E ||v(x_t, t, cond) - (eps - x0)||^2.

    Attributes:
        times: Distribution of t.
        label_dropout: Probability with which a sample's condition is replaced by ``batch.uncond``.
        velocity: Which velocity's error is squared.
        reduction: ``"sum"``, ``"mean"`` or ``"mean_of_sums"`` over elements and samples.
    """

    times: TimeLaw = LogitNormal()
    label_dropout: float = 0.1
    velocity: Velocity = "rectified_flow"
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Refuse a dropout that is no probability."""
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout must be in [0, 1], got {self.label_dropout}")

    @property
    def needs(self) -> frozenset[str]:
        """Return what the method uses: data."""
        return frozenset({"data"})

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
        """Return the loss of the network that is trained; teacher and critic are not used."""
        x0 = data_of(batch)
        eps = noise_for(batch, rng)
        t_B = self.times.sample(len(x0), rng, rng.device)
        cond = batch.cond
        if self.label_dropout > 0:
            dropped_B = torch.rand(len(x0), generator=rng, device=rng.device) < self.label_dropout
            cond = map_conditions(
                lambda c, u: torch.where(per_sample(dropped_B, c), u, c), cond, batch.uncond
            )
        loss, kept_B = flow_matching_term(
            student, x0, eps, t_B, cond, velocity=self.velocity, reduction=self.reduction
        )
        return LossTerms(loss, {"flow_matching": loss.detach()}, (~kept_B).sum())

    def critic_loss(
        self, student: Denoiser, critic: Denoiser, batch: Batch, *, rng: Generator, step: int
    ) -> LossTerms:
        """Refuse: the method has no critic."""
        raise ValueError("flow_matching has no critic")
