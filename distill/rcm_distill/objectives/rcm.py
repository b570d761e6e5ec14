"""rCM: score-regularised continuous-time consistency distillation (2510.08431, algorithm 1)."""

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
from rcm_distill.objectives._distribution_matching import DistributionMatching, check_simulation
from rcm_distill.objectives._reduce import Reduction
from rcm_distill.objectives._updates import Turns
from rcm_distill.objectives.protocol import Batch, LossTerms, Phase, required
from rcm_distill.objectives.time_law import LogNormal, TimeLaw
from rcm_distill.tangent import Method


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Consistency on data (forward divergence) plus distribution matching on samples (reverse).

    L = scm_weight L_sCM + dmd_weight L_DMD. The defaults are the paper's image configuration and
    the reductions of NVlabs/rcm at 5b41aa9; ``presets`` has the published ones by name.

    With reduction ``"sum"`` the gradient of L_sCM has norm 2 per sample whatever the dimension D,
    that of L_DMD grows as sqrt(D), so that 100 : 1 belongs to Wan's latents (D = 2.0 M). Reduction
    ``"mean"`` with tangent_size ``"rms"`` is free of D; 0.07 : 1 is then Wan's balance.

    Attributes:
        scm_weight: Weight of the consistency term.
        dmd_weight: Weight of the distribution-matching term; 0 needs no critic.
        times_G: p_G, distribution of t in the consistency term.
        times_D: p_D, distribution of t in the other, in simulation and for the critic.
        tangent_warmup: Iterations H over which r = min(1, step / H) rises and only the consistency
            term learns; 0 starts at r = 1.
        warm_up: ``"rcm"``, ``"rcm@20207e5"`` or ``"scm"``: where r enters the tangent.
        tangent_norm: ``"norm_plus_c"`` (code) or ``"paper"``: the form of the normalisation.
        tangent_size: ``"l2"`` or ``"rms"``: whether the norm grows with the dimension.
        c: Constant of the normalisation.
        method: How dF/dt is taken.
        student_update_freq: One student update in so many iterations after warm-up.
        num_steps_max: Backward simulation takes 1..num_steps_max steps in turn.
        backward: ``"random"`` or ``"fixed"`` simulation times.
        backward_times: Fixed times after pi/2.
        teacher_guidance: Guidance scale of the teacher in both terms.
        guidance_form: What the scale means.
        normaliser: ``"per_sample"`` or ``"batch"``.
        reduction: ``"sum"``, ``"mean"`` or ``"mean_of_sums"`` over elements and samples.
    """

    scm_weight: float = 100.0
    dmd_weight: float = 1.0
    times_G: TimeLaw = LogNormal(P_mean=-0.8, P_std=1.6)
    times_D: TimeLaw = LogNormal(P_mean=0.0, P_std=1.6)
    tangent_warmup: int = 0
    warm_up: WarmUp = "rcm"
    tangent_norm: TangentNorm = "norm_plus_c"
    tangent_size: Literal["l2", "rms"] = "l2"
    c: float = 0.1
    method: Method = "exact"
    student_update_freq: int = 5
    num_steps_max: int = 4
    backward: Literal["random", "fixed"] = "random"
    backward_times: tuple[float, ...] = (1.5, 1.4, 1.0)
    teacher_guidance: float = 4.5
    guidance_form: GuidanceForm = "u + s(c - u)"
    normaliser: Literal["per_sample", "batch"] = "per_sample"
    reduction: Reduction = "sum"

    def __post_init__(self) -> None:
        """Refuse a simulation without steps and a critic without turns."""
        check_simulation(self.num_steps_max, self.backward, self.backward_times)
        if self.dmd_weight and self.student_update_freq < 2:
            raise ValueError(
                f"student_update_freq must be at least 2, got {self.student_update_freq}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return what the method uses: data, teacher, and a critic for the second term."""
        return frozenset({"data", "teacher"} | ({"critic"} if self.dmd_weight else set()))

    def phase(self, step: int) -> Phase:
        """Return who learns in an iteration: the student alone in warm-up, then in turns."""
        return self._turns().phase(step) if self.dmd_weight else "student"

    def variant(self, step: int) -> Hashable:
        """Return all that is decided on the host: warm-up, who learns, and the simulated steps."""
        alone = step < self.tangent_warmup or not self.dmd_weight
        turn = "student" if alone else self._turns().variant(step, self.num_steps_max)
        return warms_up(step, self.tangent_warmup), turn

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
        """Return the student's loss."""
        teacher = required(teacher, "teacher")
        # After warm-up r is 1, however the iterations are counted.
        r = warm_up_ratio(step, self.tangent_warmup, batch.clock)
        consistency = self._consistency().on_data(student, teacher, batch, rng, r)
        total, kept_B = self.scm_weight * consistency.loss, consistency.kept_B
        terms = {"scm": consistency.loss.detach(), "tangent_rms": consistency.tangent_rms}
        parts = {"scm": total}
        if self.dmd_weight and step >= self.tangent_warmup:
            num_steps = self._turns().num_steps(step, self.num_steps_max, "student")
            part = self._matching().student_term(
                student, teacher, required(critic, "critic"), batch, rng, num_steps
            )
            parts = {"scm": total, "dmd": self.dmd_weight * part.loss}
            total = total + parts["dmd"]
            terms |= {"dmd": part.loss.detach(), "dmd_gradient_rms": part.gradient_rms}
            kept_B = kept_B & part.kept_B
        return LossTerms(total, terms, (~kept_B).sum(), parts)

    def critic_loss(
        self, student: Denoiser, critic: Denoiser, batch: Batch, *, rng: Generator, step: int
    ) -> LossTerms:
        """Return the critic's loss on what the student generates."""
        num_steps = self._turns().num_steps(step, self.num_steps_max, "critic")
        loss, kept_B = self._matching().critic_term(student, critic, batch, rng, num_steps)
        return LossTerms(loss, {"critic": loss.detach()}, (~kept_B).sum())

    def _turns(self) -> Turns:
        return Turns(warm_up=self.tangent_warmup, frequency=self.student_update_freq)

    def _consistency(self) -> Consistency:
        return Consistency(
            times=self.times_G,
            teacher_guidance=self.teacher_guidance,
            guidance_form=self.guidance_form,
            warm_up=self.warm_up,
            tangent_norm=self.tangent_norm,
            tangent_size=self.tangent_size,
            c=self.c,
            method=self.method,
            weighting="none",
            reduction=self.reduction,
        )

    def _matching(self) -> DistributionMatching:
        return DistributionMatching(
            times=self.times_D,
            backward=self.backward,
            backward_times=self.backward_times,
            teacher_guidance=self.teacher_guidance,
            guidance_form=self.guidance_form,
            normaliser=self.normaliser,
            reduction=self.reduction,
        )
