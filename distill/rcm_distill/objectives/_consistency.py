"""The continuous-time consistency term that sCM and rCM share."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser, GuidanceForm, guided
from rcm_distill.objectives._learned_weight import log_weight, weighted_loss
from rcm_distill.objectives._reduce import (
    Reduction,
    finite_samples,
    per_sample,
    reduce_squares,
    squares,
)
from rcm_distill.objectives.protocol import Batch, data_of, noise_for
from rcm_distill.objectives.time_law import TimeLaw
from rcm_distill.tangent import Method, tangent
from rcm_distill.time import trig

WarmUp = Literal["scm", "rcm", "rcm@20207e5"]
TangentNorm = Literal["norm_plus_c", "paper"]


class ConsistencyTerm(NamedTuple):
    """The loss, which samples (B,) are in it, and the mean RMS of their raw tangents.

    ``log_weight`` is the mean of a learned weight, where there is one.
    """

    loss: Tensor
    kept_B: Tensor
    tangent_rms: Tensor
    log_weight: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Consistency:
    """How a consistency tangent is formed, normalised and reduced.

    Attributes:
        times: Distribution of t.
        teacher_guidance: Guidance scale of the teacher.
        guidance_form: What the scale means.
        warm_up: Where r enters g; see ``consistency_tangent``.
        tangent_norm: ``"norm_plus_c"`` is g / (||g|| + c), the code of sCM and rCM; ``"paper"`` is
            g / sqrt(||g||^2 + c), which the rCM paper's loss value implies.
        tangent_size: ``"l2"`` takes ||g|| over a sample; ``"rms"`` divides it by sqrt(D), which
            with reduction ``"mean"`` makes loss and gradient independent of the dimension D.
        c: Constant of the normalisation.
        method: How dF/dt is taken.
        weighting: ``"none"`` or ``"inverse_sigma"``, the prior weight 1 / tan t of sCM.
        reduction: ``"sum"``, ``"mean"`` or ``"mean_of_sums"`` over elements and samples.
        learned_weight: Whether the student's own ``log_weight`` evens the loss out over t.
    """

    times: TimeLaw
    teacher_guidance: float
    guidance_form: GuidanceForm
    warm_up: WarmUp
    tangent_norm: TangentNorm
    tangent_size: Literal["l2", "rms"]
    c: float
    method: Method
    weighting: Literal["none", "inverse_sigma"]
    reduction: Reduction
    learned_weight: bool = False

    def on_data(
        self,
        student: Denoiser,
        teacher: Denoiser,
        batch: Batch,
        rng: Generator,
        r: float | Tensor,
    ) -> ConsistencyTerm:
        """Compute the term on noised data, with dx_t/dt from the guided teacher.

        Args:
            student: Whose F learns.
            teacher: Whose probability flow is followed.
            batch: Data and conditions.
            rng: Source of times and noise.
            r: Warm-up of the tangent in [0, 1].
        """
        x0 = data_of(batch)
        t_B = self.times.sample(len(x0), rng, rng.device)
        cos_t, sin_t = trig(t_B, like=x0)
        x_t = cos_t * x0 + sin_t * noise_for(batch, rng)
        with torch.no_grad():
            strong = guided(teacher, self.teacher_guidance, batch.uncond, self.guidance_form)
            dxdt = strong(x_t, t_B, batch.cond).F
        return self.term(student, x_t, t_B, dxdt, batch.cond, r)

    def term(
        self,
        student: Denoiser,
        x_t: Tensor,
        t_B: Tensor,
        dxdt: Tensor,
        cond: Any,
        r: float | Tensor,
    ) -> ConsistencyTerm:
        """Compute ||F - sg(F) - g||^2 with the normalised tangent g.

        The tangent is a pass of its own without gradients; F is evaluated again with them.

        Args:
            student: Whose F learns.
            x_t: Noisy samples (B, ...).
            t_B: TrigFlow times (B,).
            dxdt: dx_t/dt along the teacher's flow (B, ...).
            cond: Condition per sample.
            r: Warm-up of the tangent in [0, 1].
        """
        with torch.no_grad():
            g = consistency_tangent(
                student, x_t, t_B, dxdt, cond, r=r, warm_up=self.warm_up, method=self.method
            )
            normalised = self.normalise(g)
        F = student(x_t, t_B, cond).F
        kept_B = finite_samples(normalised, F.detach())
        weight_B = None
        if self.weighting == "inverse_sigma":
            weight_B = 1 / torch.tan(t_B.to(F.dtype)).clamp(min=1e-4)
        error = F - F.detach() - normalised
        size_B = torch.where(kept_B, g.square().flatten(1).mean(1).sqrt(), 0.0)
        size = size_B.sum() / kept_B.sum().clamp(min=1)
        if not self.learned_weight:
            loss = reduce_squares(error, kept_B, self.reduction, weight_B)
            return ConsistencyTerm(loss, kept_B, size)
        squares_B = squares(error, kept_B, self.reduction, weight_B)
        w_B = log_weight(student, t_B)
        loss = weighted_loss(squares_B, w_B, kept_B, self.reduction)
        return ConsistencyTerm(loss, kept_B, size, w_B.detach().mean())

    def normalise(self, g: Tensor) -> Tensor:
        """Bring each sample's tangent (B, ...) to about unit size."""
        squared_B = g.square().flatten(1).sum(1)
        if self.tangent_size == "rms":
            squared_B = squared_B / g[0].numel()
        if self.tangent_norm == "norm_plus_c":
            return g / per_sample(squared_B.sqrt() + self.c, g)
        return g / per_sample((squared_B + self.c).sqrt(), g)


def consistency_tangent(
    student: Denoiser,
    x_t: Tensor,
    t_B: Tensor,
    dxdt: Tensor,
    cond: Any,
    *,
    r: float | Tensor,
    warm_up: WarmUp,
    method: Method = "exact",
) -> Tensor:
    """Compute g, which at r = 1 is cos t df/dt of the consistency function f = cos t x - sin t F.

    With F' = cos t sin t dF/dt (the rearranged tangent, which stays bounded near pi/2):
    ``"scm"``: g = -cos^2 t (F - dx/dt) - r (cos t sin t x_t + F')  (sCM, 2410.11081, algorithm 1);
    ``"rcm"``: g = -cos t sqrt(1 - r^2 sin^2 t) (F - dx/dt) - (r cos t sin t x_t + F')  (NVlabs/rcm
    at 5b41aa9), where r does not multiply F'; ``"rcm@20207e5"`` has rCM's first term and sCM's
    second (NVlabs/rcm before f9b7be9). The three are equal at r = 1.

    Args:
        student: Whose consistency is measured.
        x_t: Noisy samples (B, ...).
        t_B: TrigFlow times (B,).
        dxdt: dx_t/dt along the teacher's flow (B, ...).
        cond: Condition per sample.
        r: Warm-up in [0, 1].
        warm_up: Where r enters.
        method: How the derivative is taken.
    """
    cos_t, sin_t = trig(t_B, like=x_t)
    t_B = t_B.to(cos_t.dtype)
    F, dF = tangent(
        student, x_t, t_B, cos_t * sin_t * dxdt, t_B.cos() * t_B.sin(), cond, method=method
    )
    interpolates = warm_up != "scm" and (isinstance(r, Tensor) or r < 1)
    first = cos_t * torch.sqrt(1 - (r * sin_t) ** 2) if interpolates else cos_t**2
    along = dF if warm_up == "rcm" else r * dF
    return -first * (F - dxdt) - (r * cos_t * sin_t * x_t + along)


def warms_up(step: int, tangent_warmup: int) -> bool:
    """Tell whether r < 1 in an iteration."""
    return step < tangent_warmup


def warm_up_ratio(step: int, tangent_warmup: int, clock: Tensor | None = None) -> float | Tensor:
    """Return r = min(1, step / H); 1 where H is 0.

    Args:
        step: The iteration.
        tangent_warmup: H.
        clock: The iteration as a scalar on the device: r is then one too while it is below 1, so
            that the work of all iterations of the warm-up is the same.
    """
    if not warms_up(step, tangent_warmup):
        return 1.0
    return (step if clock is None else clock) / tangent_warmup
