"""sCM: continuous-time consistency distillation (Lu and Song 2024, 2410.11081)."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from torch import Generator

from rcm_distill.denoiser import Denoiser, GuidanceForm
from rcm_distill.objectives._consistency import (
    Consistency,
    TangentNorm,
    WarmUp,
    warm_up_ratio,
    warms_up,
)
from rcm_distill.objectives._reduce import Reduction
from rcm_distill.objectives.protocol import Batch, LossTerms, Phase, required
from rcm_distill.objectives.time_law import LogNormal, TimeLaw
from rcm_distill.tangent import Method


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Continuous-time consistency distillation of the paper, in samples of unit variance.

    L = weight(t) ||F - sg(F) - g / (||g|| + c)||^2, with the learned weight of the paper only where
    it is asked for: e^(-w(t)) L + w(t), w trained with the student.

    Attributes:
        times: Distribution of t. The paper's N(-1, 1.4^2) is of log(tan t / 2), its data having a
            standard deviation of 1/2; the default is shifted by log 2 against it.
        tangent_warmup: Iterations H over which r = min(1, step / H) rises; 0 starts at r = 1.
        warm_up: ``"scm"``, ``"rcm"`` or ``"rcm@20207e5"``: where r enters the tangent.
        tangent_norm: ``"norm_plus_c"`` or ``"paper"``: the form of the normalisation.
        tangent_size: ``"l2"`` or ``"rms"``: whether the norm grows with the dimension.
        c: Constant of the normalisation.
        method: How dF/dt is taken.
        weighting: ``"none"`` or ``"inverse_sigma"``, the prior weight 1 / tan t.
        teacher_guidance: Guidance scale of the teacher.
        guidance_form: What the scale means.
        reduction: ``"sum"``, ``"mean"`` or ``"mean_of_sums"`` over elements and samples.
        learned_weight: Whether a learned w(t) evens the loss out over t; needs a student with one.
    """

    times: TimeLaw = LogNormal(P_mean=-1.0, P_std=1.4)
    tangent_warmup: int = 10_000
    warm_up: WarmUp = "scm"
    tangent_norm: TangentNorm = "norm_plus_c"
    tangent_size: Literal["l2", "rms"] = "l2"
    c: float = 0.1
    method: Method = "exact"
    weighting: Literal["none", "inverse_sigma"] = "inverse_sigma"
    teacher_guidance: float = 1.0
    guidance_form: GuidanceForm = "u + s(c - u)"
    reduction: Reduction = "mean"
    learned_weight: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """Return what the method uses: data, teacher, and a student with a weight if it learns."""
        return frozenset({"data", "teacher"} | ({"log_weight"} if self.learned_weight else set()))

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
        r = warm_up_ratio(step, self.tangent_warmup, batch.clock)
        part = self._consistency().on_data(student, required(teacher, "teacher"), batch, rng, r)
        terms = {"scm": part.loss.detach(), "tangent_rms": part.tangent_rms}
        if part.log_weight is not None:
            terms["log_weight"] = part.log_weight
        return LossTerms(part.loss, terms, (~part.kept_B).sum())

    def critic_loss(
        self, student: Denoiser, critic: Denoiser, batch: Batch, *, rng: Generator, step: int
    ) -> LossTerms:
        """Refuse: the method has no critic."""
        raise ValueError("scm has no critic")

    def _consistency(self) -> Consistency:
        return Consistency(
            times=self.times,
            teacher_guidance=self.teacher_guidance,
            guidance_form=self.guidance_form,
            warm_up=self.warm_up,
            tangent_norm=self.tangent_norm,
            tangent_size=self.tangent_size,
            c=self.c,
            method=self.method,
            weighting=self.weighting,
            reduction=self.reduction,
            learned_weight=self.learned_weight,
        )
