"""The GAN branch of DMD2: a discriminator on the critic's features, at noisy samples."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from rcm_distill.denoiser import map_conditions
from rcm_distill.objectives._reduce import Reduction
from rcm_distill.objectives.protocol import Batch, data_of, noise_for
from rcm_distill.objectives.time_law import TimeLaw
from rcm_distill.time import trig


@runtime_checkable
class Discriminator(Protocol):
    """A critic that also tells data from samples."""

    def logits(self, x_t: Tensor, t_B: Tensor, cond: Any) -> Tensor:
        """Return (B,) logits of noisy samples (B, ...), positive for data."""
        ...


class AdversarialTerm(NamedTuple):
    """A loss, and which samples (B,) are in it."""

    loss: Tensor
    kept_B: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Adversarial:
    """Non-saturating GAN losses on diffused data and samples (DMD2, 2405.14867, section 4.3).

    The discriminator minimises softplus(-l(x_t)) + softplus(l(G_t)), the student softplus(-l(G_t)).
    At the best discriminator l = log p_data(x_t) - log p_student(x_t); it is 0 everywhere where the
    two laws are equal, and then so is the student's gradient.

    Attributes:
        times: Distribution of the times at which the discriminator looks.
        reduction: ``"sum"`` or ``"mean"`` over samples.
    """

    times: TimeLaw
    reduction: Reduction

    def student_term(
        self, G: Tensor, critic: object, batch: Batch, rng: Generator
    ) -> AdversarialTerm:
        """Compute the student's loss on its samples G (B, ...).

        The discriminator is differentiated in its input alone: its weights get no gradient.
        """
        t_B = self.times.sample(len(G), rng, rng.device)
        cos_t, sin_t = trig(t_B, like=G)
        noise = noise_for(batch, rng)
        leaf = G.detach().requires_grad_()
        with torch.enable_grad():
            logits_B = discriminator(critic).logits(cos_t * leaf + sin_t * noise, t_B, batch.cond)
            kept_B = torch.isfinite(logits_B.detach())
            loss = self._reduced(functional.softplus(-logits_B), kept_B)
            (slope,) = torch.autograd.grad(loss, leaf)
        kept = kept_B.reshape(-1, *[1] * (G.ndim - 1))
        slope = torch.where(kept, slope, torch.zeros_like(slope))
        along = torch.where(kept, G - G.detach(), torch.zeros_like(G))
        return AdversarialTerm(loss.detach() + (slope * along).sum(), kept_B)

    def critic_term(
        self, G: Tensor, critic: object, batch: Batch, rng: Generator
    ) -> AdversarialTerm:
        """Compute the discriminator's loss on data and on samples G (B, ...), at the same times."""
        x0 = data_of(batch)
        t_B = self.times.sample(len(G), rng, rng.device)
        cos_t, sin_t = trig(t_B, like=G)
        x_t = torch.cat([cos_t * x + sin_t * noise_for(batch, rng) for x in (x0, G.detach())])
        cond = map_conditions(lambda c: torch.cat([c, c]), batch.cond)
        real_B, fake_B = discriminator(critic).logits(x_t, torch.cat([t_B, t_B]), cond).chunk(2)
        kept_B = torch.isfinite(real_B.detach()) & torch.isfinite(fake_B.detach())
        each_B = functional.softplus(-real_B) + functional.softplus(fake_B)
        return AdversarialTerm(self._reduced(each_B, kept_B), kept_B)

    def _reduced(self, each_B: Tensor, kept_B: Tensor) -> Tensor:
        total = torch.where(kept_B, each_B, torch.zeros_like(each_B)).sum()
        return total if self.reduction == "sum" else total / kept_B.sum().clamp(min=1)


def discriminator(critic: object) -> Discriminator:
    """Return the critic as a discriminator.

    Raises:
        ValueError: It has no ``logits``.
    """
    if not isinstance(critic, Discriminator):
        kind = type(critic).__name__
        raise ValueError(f"the GAN branch needs a critic with logits(x_t, t_B, cond), got {kind}")
    return critic
