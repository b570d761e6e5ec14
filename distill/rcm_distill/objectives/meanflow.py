"""MeanFlow: average velocities by the MeanFlow identity (Geng et al. 2025, 2505.13447)."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser, GuidanceForm, guided
from rcm_distill.objectives._consistency import warm_up_ratio, warms_up
from rcm_distill.objectives._reduce import (
    Reduction,
    finite_samples,
    per_sample,
    reduce_squares,
)
from rcm_distill.objectives.protocol import (
    Batch,
    LossTerms,
    Phase,
    data_of,
    noise_for,
    required,
)
from rcm_distill.objectives.time_law import LogitNormal, TimeLaw
from rcm_distill.tangent import Method, tangent
from rcm_distill.time import rf_from_trig, rf_velocity, trig


class _Drawn(NamedTuple):
    """Noisy samples, their times and end times, and the flow's velocity dx_t/dt at them."""

    x_t: Tensor
    t_B: Tensor
    s_B: Tensor
    dxdt: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Average velocities u(x, t, s) of a teacher's flow, or of data.

    L = ||u - sg(target)||^2 / sg(||u - target||^2 + c)^p with, in rectified-flow times,
    target = v - r (t_rf - s_rf) du/dt_rf along dx_rf/dt_rf = v (equations 6, 10 and 11); r = 1
    after warm-up. The total derivative is taken in TrigFlow: d/dt_rf = (cos t + sin t)^2 d/dt.

    Its fixed point is the exact average velocity of the teacher's (guided) flow: there the gradient
    is zero in every draw. With ``velocity="data"`` it is zero in expectation only. Differs from the
    paper: v comes from a teacher by default, and training from data has no guidance inside.

    Attributes:
        times: Distribution of t and s, two draws put in order.
        equal_share: Share of samples with s = t, which learn the velocity itself.
        velocity: v of the ``"teacher"`` (distillation) or eps - x0 of the ``"data"`` (the paper).
        tangent_warmup: Iterations H over which r = min(1, step / H) rises (FastGen); 0 starts at 1.
        norm: Size of an error in the adaptive weight: ``"squared_l2"`` (the paper) is its sum of
            squares, ``"rms"`` (FastGen's opt_grad, dimension invariant) its root mean square, and
            the weight is then divided by sqrt(D): the norm of a sample's gradient is free of D.
        norm_power: p of the adaptive weight; 0 is the plain squared error.
        norm_constant: c of the adaptive weight; positive.
        method: How du/dt is taken.
        teacher_guidance: Guidance scale of the teacher.
        guidance_form: What the scale means.
        reduction: ``"sum"``, ``"mean"`` or ``"mean_of_sums"`` over elements and samples.
    """

    times: TimeLaw = LogitNormal(mean=-0.4, std=1.0)
    equal_share: float = 0.75
    velocity: Literal["teacher", "data"] = "teacher"
    tangent_warmup: int = 0
    norm: Literal["squared_l2", "rms"] = "squared_l2"
    norm_power: float = 1.0
    norm_constant: float = 0.01
    method: Method = "exact"
    teacher_guidance: float = 1.0
    guidance_form: GuidanceForm = "u + s(c - u)"
    reduction: Reduction = "sum"

    def __post_init__(self) -> None:
        """Refuse a share that is none, and a weight that could be infinite."""
        if not 0 <= self.equal_share <= 1:
            raise ValueError(f"equal_share must be in [0, 1], got {self.equal_share}")
        if self.norm_constant <= 0:
            raise ValueError(f"norm_constant must be positive, got {self.norm_constant}")

    @property
    def needs(self) -> frozenset[str]:
        """Return what the method uses: data, a student with end times, and mostly a teacher."""
        return frozenset({"data", "end_time"} | ({self.velocity} & {"teacher"}))

    def phase(self, step: int) -> Phase:
        """Return "student": nobody else learns."""
        return "student"

    def variant(self, step: int) -> Hashable:
        """Return all that is decided on the host in an iteration: whether it warms up."""
        return warms_up(step, self.tangent_warmup)

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
        drawn = self._draw(teacher, batch, rng)
        r = warm_up_ratio(step, self.tangent_warmup, batch.clock)
        target = self._target(student, drawn, batch, r)
        x_t, t_B, s_B, _ = drawn
        error = rf_velocity(student(x_t, t_B, batch.cond, s_B=s_B).F, x_t, t_B) - target
        kept_B = finite_samples(error.detach())
        squares_B = torch.where(kept_B, error.detach().square().flatten(1).sum(1), 0.0)
        dim = error[0].numel()
        loss = reduce_squares(error, kept_B, self.reduction, self._weight(squares_B, dim))
        rms = (squares_B / dim).sqrt().sum() / kept_B.sum().clamp(min=1)
        terms = {"meanflow": loss.detach(), "velocity_error_rms": rms}
        return LossTerms(loss, terms, (~kept_B).sum())

    def critic_loss(
        self, student: Denoiser, critic: Denoiser, batch: Batch, *, rng: Generator, step: int
    ) -> LossTerms:
        """Refuse: the method has no critic."""
        raise ValueError("meanflow has no critic")

    def _weight(self, squares_B: Tensor, dim: int) -> Tensor:
        """Return the adaptive weight (B,) of errors with these sums of dim squares."""
        if self.norm == "squared_l2":
            return (squares_B + self.norm_constant) ** -self.norm_power
        rms_B = (squares_B / dim).sqrt()
        return (rms_B + self.norm_constant) ** -self.norm_power / math.sqrt(dim)

    def _draw(self, teacher: Denoiser | None, batch: Batch, rng: Generator) -> _Drawn:
        x0 = data_of(batch)
        n, device = len(x0), rng.device
        one_B, two_B = (self.times.sample(n, rng, device).to(x0.dtype) for _ in range(2))
        t_B = torch.maximum(one_B, two_B)
        equal_B = torch.rand(n, generator=rng, device=device) < self.equal_share
        s_B = torch.where(equal_B, t_B, torch.minimum(one_B, two_B))
        cos_t, sin_t = trig(t_B, like=x0)
        eps = noise_for(batch, rng)
        x_t, dxdt = cos_t * x0 + sin_t * eps, cos_t * eps - sin_t * x0
        if self.velocity == "teacher":
            with torch.no_grad():
                strong = guided(
                    required(teacher, "teacher"),
                    self.teacher_guidance,
                    batch.uncond,
                    self.guidance_form,
                )
                dxdt = strong(x_t, t_B, batch.cond).F
        return _Drawn(x_t, t_B, s_B, dxdt)

    @torch.no_grad()
    def _target(self, student: Denoiser, drawn: _Drawn, batch: Batch, r: float | Tensor) -> Tensor:
        """Return v - r (t_rf - s_rf) du/dt_rf.

        u = (cos t + sin t) F - (cos t - sin t) x_t, so that along the flow
        du/dt = (cos t - sin t)(F - dx/dt) + (cos t + sin t)(dF/dt + x_t).
        """
        x_t, t_B, s_B, dxdt = drawn
        cos_t, sin_t = trig(t_B, like=x_t)
        F, dF = tangent(
            student,
            x_t,
            t_B,
            dxdt,
            torch.ones_like(t_B),
            batch.cond,
            s_B=s_B,
            method=self.method,
        )
        du = (cos_t - sin_t) * (F - dxdt) + (cos_t + sin_t) * (dF + x_t)
        gap = per_sample(rf_from_trig(t_B) - rf_from_trig(s_B), x_t)
        return rf_velocity(dxdt, x_t, t_B) - r * gap * (cos_t + sin_t) ** 2 * du
