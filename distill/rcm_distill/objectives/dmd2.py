"""DMD2: distribution matching with two time scales and backward simulation (2405.14867)."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from torch import Generator

from rcm_distill.denoiser import Denoiser, GuidanceForm
from rcm_distill.objectives._distribution_matching import DistributionMatching, check_simulation
from rcm_distill.objectives._reduce import Reduction
from rcm_distill.objectives._updates import Turns
from rcm_distill.objectives.protocol import Batch, LossTerms, Phase, required
from rcm_distill.objectives.time_law import TimeLaw, UniformShift


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Distribution matching distillation without the GAN branch.

    L = 1/2 ||G - sg(G - grad)||^2. Differs from DMD2: no discriminator; the critic learns in
    iterations of its own, as in rCM, not in the student's too.

    Attributes:
        times: Distribution of the times at which teacher and critic are compared.
        num_steps_max: Backward simulation takes 1..num_steps_max steps in turn.
        backward: ``"random"`` or ``"fixed"`` simulation times.
        backward_times: Fixed times after pi/2.
        student_update_freq: One student update in so many iterations (two-time-scale rule).
        teacher_guidance: Guidance scale of the teacher.
        guidance_form: What the scale means.
        normaliser: ``"per_sample"`` or ``"batch"``.
        reduction: ``"sum"`` or ``"mean"`` over elements and samples.
    """

    times: TimeLaw = UniformShift(low=0.02, high=0.98)
    num_steps_max: int = 4
    backward: Literal["random", "fixed"] = "fixed"
    backward_times: tuple[float, ...] = (1.3, 1.0, 0.6)
    student_update_freq: int = 5
    teacher_guidance: float = 1.0
    guidance_form: GuidanceForm = "u + s(c - u)"
    normaliser: Literal["per_sample", "batch"] = "per_sample"
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Refuse a simulation without steps and a critic without turns."""
        check_simulation(self.num_steps_max, self.backward, self.backward_times)
        if self.student_update_freq < 2:
            raise ValueError(
                f"student_update_freq must be at least 2, got {self.student_update_freq}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return what the method uses: teacher and critic, no data."""
        return frozenset({"teacher", "critic"})

    def phase(self, step: int) -> Phase:
        """Return who learns in an iteration; the student is first."""
        return self._turns().phase(step)

    def variant(self, step: int) -> Hashable:
        """Return all that is decided on the host: who learns, and the simulated steps."""
        return self._turns().variant(step, self.num_steps_max)

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
        num_steps = self._turns().num_steps(step, self.num_steps_max, "student")
        part = self._matching().student_term(
            student, required(teacher, "teacher"), required(critic, "critic"), batch, rng, num_steps
        )
        loss = 0.5 * part.loss
        terms = {"dmd": loss.detach(), "dmd_gradient_rms": part.gradient_rms}
        return LossTerms(loss, terms, (~part.kept_B).sum())

    def critic_loss(
        self, student: Denoiser, critic: Denoiser, batch: Batch, *, rng: Generator, step: int
    ) -> LossTerms:
        """Return the critic's loss on what the student generates."""
        num_steps = self._turns().num_steps(step, self.num_steps_max, "critic")
        loss, kept_B = self._matching().critic_term(student, critic, batch, rng, num_steps)
        return LossTerms(loss, {"critic": loss.detach()}, (~kept_B).sum())

    def _turns(self) -> Turns:
        return Turns(warm_up=0, frequency=self.student_update_freq)

    def _matching(self) -> DistributionMatching:
        return DistributionMatching(
            times=self.times,
            backward=self.backward,
            backward_times=self.backward_times,
            teacher_guidance=self.teacher_guidance,
            guidance_form=self.guidance_form,
            normaliser=self.normaliser,
            reduction=self.reduction,
        )
