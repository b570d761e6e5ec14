"""The distribution-matching term that DMD2 and rCM share: simulation and both losses."""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser, GuidanceForm, guided
from rcm_distill.objectives._reduce import (
    Reduction,
    finite_samples,
    per_sample,
    reduce_squares,
)
from rcm_distill.objectives.flow_matching import FlowMatchingTerm, flow_matching_term
from rcm_distill.objectives.protocol import Batch, noise_for
from rcm_distill.objectives.time_law import TimeLaw
from rcm_distill.time import trig


class DistributionTerm(NamedTuple):
    """The student's loss, which samples (B,) are in it, and the mean RMS of their gradients."""

    loss: Tensor
    kept_B: Tensor
    gradient_rms: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributionMatching:
    """Distribution matching distillation (Yin et al. 2024) with backward simulation.

    Attributes:
        times: Distribution of the times at which teacher and critic are compared.
        backward: ``"random"`` draws simulation times from ``times``, each no later than the one
            before; ``"fixed"`` takes ``backward_times``.
        backward_times: Times after the first, pi/2, of a fixed simulation, from noise to data.
        teacher_guidance: Guidance scale of the teacher; the critic has none.
        guidance_form: What the scale means.
        normaliser: Mean |G - x0_teacher| ``"per_sample"`` (DMD2, rCM) or over the ``"batch"``
            (FastVideo).
        reduction: ``"sum"``, ``"mean"`` or ``"mean_of_sums"`` over elements and samples.
    """

    times: TimeLaw
    backward: Literal["random", "fixed"]
    backward_times: tuple[float, ...]
    teacher_guidance: float
    guidance_form: GuidanceForm
    normaliser: Literal["per_sample", "batch"]
    reduction: Reduction

    def simulate(
        self, student: Denoiser, batch: Batch, rng: Generator, num_steps: int, *, gradient: bool
    ) -> Tensor:
        """Sample the student as in inference; gradients flow through the last step only.

        x0 <- student(x, t), x <- cos t' x0 + sin t' eps, starting from noise at t = pi/2.

        Args:
            student: What generates.
            batch: Gives conditions and shape.
            rng: Source of noise and times.
            num_steps: Evaluations of the student, at least 1.
            gradient: Whether the last step is differentiable.

        Returns:
            Generated samples G (B, ...).
        """
        x = noise_for(batch, rng)
        t_B = torch.full((len(x),), math.pi / 2, dtype=x.dtype, device=x.device)
        for index in range(num_steps - 1):
            with torch.no_grad():
                x0 = student(x, t_B, batch.cond).x0
            t_B = self._next_time(t_B, index, rng)
            cos_t, sin_t = trig(t_B, like=x0)
            x = cos_t * x0 + sin_t * noise_for(batch, rng)
        with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
            return student(x, t_B, batch.cond).x0

    def student_term(
        self,
        student: Denoiser,
        teacher: Denoiser,
        critic: Denoiser,
        batch: Batch,
        rng: Generator,
        num_steps: int,
    ) -> DistributionTerm:
        """Simulate and compute the term on what comes of it."""
        G = self.simulate(student, batch, rng, num_steps, gradient=True)
        return self.on_samples(G, teacher, critic, batch, rng)

    def on_samples(
        self, G: Tensor, teacher: Denoiser, critic: Denoiser, batch: Batch, rng: Generator
    ) -> DistributionTerm:
        """Compute ||G - sg(G - grad)||^2, whose gradient in G is 2 grad.

        grad = (x0_critic - x0_teacher) / max(mean |G - x0_teacher|, 1e-5) at x_t = cos t G + sin t
        eps (DMD2, 2405.14867, equations 4 and 7 of DMD; NVlabs/rcm). DMD2 puts 1/2 before it.
        """
        with torch.no_grad():
            x_t, t_B = self._noised(G, batch, rng)
            x0_critic = critic(x_t, t_B, batch.cond).x0
            strong = guided(teacher, self.teacher_guidance, batch.uncond, self.guidance_form)
            x0_teacher = strong(x_t, t_B, batch.cond).x0
            size_B = (G - x0_teacher).abs().flatten(1).mean(1)
            if self.normaliser == "batch":
                size_B = size_B.mean().expand_as(size_B)
            grad = (x0_critic - x0_teacher) / per_sample(size_B.clamp(min=1e-5), G)
            kept_B = finite_samples(grad, G)
        loss = reduce_squares(G - (G.detach() - grad), kept_B, self.reduction)
        rms_B = torch.where(kept_B, grad.square().flatten(1).mean(1).sqrt(), 0.0)
        return DistributionTerm(loss, kept_B, rms_B.sum() / kept_B.sum().clamp(min=1))

    def critic_term(
        self, student: Denoiser, critic: Denoiser, batch: Batch, rng: Generator, num_steps: int
    ) -> FlowMatchingTerm:
        """Simulate and compute the critic's loss on what comes of it."""
        G = self.simulate(student, batch, rng, num_steps, gradient=False)
        return self.critic_on_samples(G, critic, batch, rng)

    def critic_on_samples(
        self, G: Tensor, critic: Denoiser, batch: Batch, rng: Generator
    ) -> FlowMatchingTerm:
        """Compute the critic's flow matching loss on what the student generates, in TrigFlow.

        Equal to ||G - x0_critic||^2 / sin^2 t, without the division.
        """
        t_B = self.times.sample(len(G), rng, rng.device)
        return flow_matching_term(
            critic,
            G,
            noise_for(batch, rng),
            t_B,
            batch.cond,
            velocity="trigflow",
            reduction=self.reduction,
        )

    def _next_time(self, t_B: Tensor, index: int, rng: Generator) -> Tensor:
        if self.backward == "fixed":
            return torch.full_like(t_B, self.backward_times[index])
        return torch.minimum(self.times.sample(len(t_B), rng, rng.device).to(t_B.dtype), t_B)

    def _noised(self, G: Tensor, batch: Batch, rng: Generator) -> tuple[Tensor, Tensor]:
        t_B = self.times.sample(len(G), rng, rng.device)
        cos_t, sin_t = trig(t_B, like=G)
        return cos_t * G + sin_t * noise_for(batch, rng), t_B


def check_simulation(num_steps_max: int, backward: str, backward_times: tuple[Any, ...]) -> None:
    """Refuse a simulation with no steps, or with fewer fixed times than it needs."""
    if num_steps_max < 1:
        raise ValueError(f"num_steps_max must be at least 1, got {num_steps_max}")
    if backward == "fixed" and len(backward_times) < num_steps_max - 1:
        raise ValueError(
            f"num_steps_max = {num_steps_max} needs {num_steps_max - 1} backward_times, "
            f"got {len(backward_times)}"
        )
