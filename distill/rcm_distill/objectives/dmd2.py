"""DMD2: distribution matching with two time scales and backward simulation (2405.14867)."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from torch import Generator

from rcm_distill.denoiser import Denoiser, GuidanceForm
from rcm_distill.objectives._distribution_matching import DistributionMatching, check_simulation
from rcm_distill.objectives._gan import Adversarial
from rcm_distill.objectives._reduce import Reduction
from rcm_distill.objectives._updates import Turns
from rcm_distill.objectives.protocol import Batch, LossTerms, Phase, data_of, required
from rcm_distill.objectives.time_law import TimeLaw, UniformShift


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Distribution matching distillation, with the GAN branch where its weights are positive.

    L = 1/2 ||G - sg(G - grad)||^2 + gan_weight softplus(-l(G_t)); the critic adds
    gan_critic_weight (softplus(-l(x_t)) + softplus(l(G_t))) with logits l of its own features.
    Differs from DMD2: the critic learns in iterations of its own, as in rCM, not in the student's
    too; data and samples are looked at at the same times.

    Attributes:
        times: Distribution of the times at which teacher and critic are compared.
        num_steps_max: Backward simulation takes 1..num_steps_max steps in turn.
        backward: ``"random"`` or ``"fixed"`` simulation times.
        backward_times: Fixed times after pi/2.
        student_update_freq: One student update in so many iterations (two-time-scale rule).
        teacher_guidance: Guidance scale of the teacher.
        guidance_form: What the scale means.
        normaliser: ``"per_sample"`` or ``"batch"``.
        reduction: ``"sum"``, ``"mean"`` or ``"mean_of_sums"`` over elements and samples.
        gan_weight: Weight of the student's GAN term; 0 needs no data and no discriminator.
        gan_critic_weight: Weight of the discriminator's term in the critic's loss.
        gan_times: Distribution of the times at which the discriminator looks.
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
    gan_weight: float = 0.0
    gan_critic_weight: float = 0.0
    gan_times: TimeLaw = UniformShift()

    def __post_init__(self) -> None:
        """Refuse a simulation without steps, a critic without turns, and half a GAN branch."""
        check_simulation(self.num_steps_max, self.backward, self.backward_times)
        if self.student_update_freq < 2:
            raise ValueError(
                f"student_update_freq must be at least 2, got {self.student_update_freq}"
            )
        weights = (self.gan_weight, self.gan_critic_weight)
        if min(weights) < 0 or (min(weights) == 0 < max(weights)):
            raise ValueError(
                "gan_weight and gan_critic_weight must both be positive or both be 0, got "
                f"{weights[0]} and {weights[1]}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """Return what the method uses: teacher and critic; data and discriminator for the GAN."""
        gan = {"data", "discriminator"} if self.gan_weight else set()
        return frozenset({"teacher", "critic"} | gan)

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
        teacher, critic = required(teacher, "teacher"), required(critic, "critic")
        if self.gan_weight:
            data_of(batch)  # the discriminator will need them: said in the first iteration already
        matching = self._matching()
        G = matching.simulate(student, batch, rng, num_steps, gradient=True)
        part = matching.on_samples(G, teacher, critic, batch, rng)
        loss = 0.5 * part.loss
        terms = {"dmd": loss.detach(), "dmd_gradient_rms": part.gradient_rms}
        if not self.gan_weight:
            return LossTerms(loss, terms, (~part.kept_B).sum())
        gan = self._adversarial().student_term(G, critic, batch, rng)
        parts = {"dmd": loss, "gan": self.gan_weight * gan.loss}
        kept_B = part.kept_B & gan.kept_B
        terms["gan"] = gan.loss.detach()
        return LossTerms(parts["dmd"] + parts["gan"], terms, (~kept_B).sum(), parts)

    def critic_loss(
        self, student: Denoiser, critic: Denoiser, batch: Batch, *, rng: Generator, step: int
    ) -> LossTerms:
        """Return the critic's loss on what the student generates, and the discriminator's."""
        num_steps = self._turns().num_steps(step, self.num_steps_max, "critic")
        matching = self._matching()
        G = matching.simulate(student, batch, rng, num_steps, gradient=False)
        loss, kept_B = matching.critic_on_samples(G, critic, batch, rng)
        terms = {"critic": loss.detach()}
        if self.gan_weight:
            gan = self._adversarial().critic_term(G, critic, batch, rng)
            loss, kept_B = loss + self.gan_critic_weight * gan.loss, kept_B & gan.kept_B
            terms["gan_critic"] = gan.loss.detach()
        return LossTerms(loss, terms, (~kept_B).sum())

    def _adversarial(self) -> Adversarial:
        return Adversarial(times=self.gan_times, reduction=self.reduction)

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
