"""DMD2's GAN branch against discriminators known in closed form."""

import math

import pytest
import torch

from rcm_distill.analytic import Gaussian, GaussianConsistency
from rcm_distill.objectives import dmd2
from rcm_distill.objectives._gan import Adversarial
from rcm_distill.objectives.protocol import Batch
from rcm_distill.objectives.time_law import UniformShift
from rcm_distill.time import trig

TIMES = UniformShift(low=0.05, high=0.95)


def log_density(x_t, t_B, means, stds, weights):
    """log p_t(x_t) of a mixture of Gaussians with scalar means, diffused to t; (B,)."""
    cos_t, sin_t = trig(t_B, like=x_t[..., None])
    means, stds, weights = (torch.as_tensor(v, dtype=x_t.dtype) for v in (means, stds, weights))
    variance = stds**2 * cos_t**2 + sin_t**2
    each = -0.5 * ((x_t[..., None] - cos_t * means) ** 2 / variance + variance.log())
    return torch.logsumexp(each.sum(1) + weights.log(), dim=-1)


class Best:
    """A critic with the best discriminator of two laws, each (means, stds, weights)."""

    def __init__(self, data, student):
        self.data, self.student = data, student

    def __call__(self, x_t, t_B, cond, *, s_B=None):
        means, stds, _ = self.student
        return Gaussian(means[0], stds[0])(x_t, t_B, cond)

    def logits(self, x_t, t_B, cond):
        return log_density(x_t, t_B, *self.data) - log_density(x_t, t_B, *self.student)


def samples(rng, n, mean, std, dim=1):
    return mean + std * torch.randn(n, dim, generator=rng, dtype=torch.float64)


def batch_of(x0):
    return Batch(x0, None, None, tuple(x0.shape))


def test_the_students_gradient_is_zero_where_the_laws_are_equal(rng):
    """Exactly, in every draw: the best discriminator is 0 everywhere, and so is its slope."""
    law = ([0.4], [0.5], [1.0])
    for std, at_rest in ((0.5, True), (0.8, False)):
        mean_std = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.4, std)]
        objective = dmd2.Objective(gan_weight=0.1, gan_critic_weight=0.1, gan_times=TIMES)
        student = GaussianConsistency(*mean_std)
        for step in (0, 5, 10, 15):
            batch = batch_of(samples(rng, 64, 0.4, 0.5))
            best = Best(law, ([0.4], [std], [1.0]))
            loss = objective(student, Gaussian(0.4, std), best, batch, rng=rng, step=step)
            gan = torch.autograd.grad(loss.parts["gan"], mean_std)
            assert (max(g.abs().item() for g in gan) < 1e-12) == at_rest
            if at_rest:
                assert loss.terms["gan"].item() == pytest.approx(math.log(2), rel=1e-12)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_missing_mode_pulls_the_student_towards_it(rng, side):
    """Data have modes at -1 and 1, the student sits on one: its gradient points to the other."""
    mean = torch.tensor(side, dtype=torch.float64, requires_grad=True)
    data = ([-1.0, 1.0], [0.4, 0.4], [0.5, 0.5])
    best = Best(data, ([side], [0.4], [1.0]))
    G = mean + 0.4 * torch.randn(4096, 1, generator=rng, dtype=torch.float64)
    term = Adversarial(times=TIMES, reduction="mean")
    loss = term.student_term(G, best, batch_of(G.detach()), rng).loss
    (slope,) = torch.autograd.grad(loss, mean)
    assert slope.item() * side > 0.01


def test_the_students_gradient_is_that_of_its_loss(rng):
    """The branch differentiates the discriminator in its input alone, to the same end."""
    best = Best(([-1.0, 1.0], [0.4, 0.4], [0.3, 0.7]), ([0.2], [0.6], [1.0]))
    plain = samples(rng, 32, 0.2, 0.6, dim=3)
    for reduction, total in (
        ("mean", torch.mean),
        ("sum", torch.sum),
        ("mean_of_sums", torch.mean),
    ):
        G = plain.clone().requires_grad_()
        term = Adversarial(times=TIMES, reduction=reduction)
        state = rng.get_state()
        (one,) = torch.autograd.grad(term.student_term(G, best, batch_of(plain), rng).loss, G)
        rng.set_state(state)
        t_B = TIMES.sample(32, rng, "cpu")
        cos_t, sin_t = trig(t_B, like=G)
        noise = torch.randn(G.shape, generator=rng, dtype=torch.float64)
        each = torch.nn.functional.softplus(-best.logits(cos_t * G + sin_t * noise, t_B, None))
        (two,) = torch.autograd.grad(total(each), G)
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


class Line:
    """A discriminator whose logit is a + b x."""

    def __init__(self):
        self.ab = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def logits(self, x_t, t_B, cond):
        return self.ab[0] + self.ab[1] * x_t[:, 0]


def test_the_discriminators_gradient(rng):
    """Zero in expectation where the laws are equal; else it learns on which side data lie."""
    term, n = Adversarial(times=TIMES, reduction="mean"), 20_000
    for gap in (0.0, 1.0):
        line = Line()
        data, G = samples(rng, n, gap, 0.5), samples(rng, n, 0.0, 0.5)
        loss = term.critic_term(G, line, batch_of(data), rng).loss
        assert loss.item() == pytest.approx(2 * math.log(2))
        (slope,) = torch.autograd.grad(loss, line.ab)
        # At l = 0: (mean of fakes - mean of data) / 2; |x_t| has a second moment of 1 at most.
        limit = 6 * math.sqrt(2 / n) / 2
        assert abs(slope[0].item()) < 1e-12
        assert (abs(slope[1].item()) < limit) == (gap == 0)
        assert gap == 0 or slope[1].item() < 0


def test_samples_without_a_finite_logit_are_left_out_and_counted(rng):
    class Broken(Line):
        def logits(self, x_t, t_B, cond):
            spoilt = torch.zeros(len(x_t), dtype=torch.float64)
            spoilt[1] = float("nan")
            return super().logits(x_t, t_B, cond) + spoilt

    term = Adversarial(times=TIMES, reduction="mean")
    G = samples(rng, 4, 0.0, 1.0).requires_grad_()
    found = term.student_term(G, Broken(), batch_of(G.detach()), rng)
    assert found.kept_B.tolist() == [True, False, True, True]
    assert found.loss.item() == pytest.approx(math.log(2))
    assert torch.isfinite(torch.autograd.grad(found.loss, G)[0]).all()


def test_messages():
    with pytest.raises(ValueError, match=r"must both be positive or both be 0, got 0.1 and 0.0"):
        dmd2.Objective(gan_weight=0.1)
    objective = dmd2.Objective(gan_weight=0.1, gan_critic_weight=0.1)
    assert objective.needs == {"teacher", "critic", "data", "discriminator"}
    teacher = Gaussian(0.0, 1.0)
    batch = batch_of(torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"critic with logits\(x_t, t_B, cond\), got Gaussian"):
        objective(teacher, teacher, teacher, batch, rng=torch.Generator(), step=0)
