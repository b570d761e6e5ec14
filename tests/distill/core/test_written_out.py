"""Whole losses against the same draws put through the published formulas, constants included."""

import math
from dataclasses import dataclass

import pytest
import torch

from rcm_distill.analytic import Gaussian, GaussianConsistency
from rcm_distill.objectives import dmd2, rcm, scm
from rcm_distill.objectives.protocol import Batch

N, DIM, GUIDANCE = 16, 3, 3.0
SEED = 11


@dataclass
class Labelled:
    """A Gaussian whose mean is the condition (B, 1)."""

    std: float

    def __call__(self, x_t, t_B, cond, *, s_B=None):
        return Gaussian(cond, self.std)(x_t, t_B, None)


@pytest.fixture
def batch(randn):
    return Batch(randn(N, DIM), randn(N, 1), torch.zeros(N, 1, dtype=torch.float64), (N, DIM))


STUDENT, TEACHER, CRITIC = GaussianConsistency(0.2, 0.9), Labelled(0.5), Labelled(0.8)


def normal(rng):
    return torch.randn(N, DIM, generator=rng, dtype=torch.float64)


def times(law, rng):
    t_B = law.sample(N, rng, "cpu").double()
    return t_B, t_B.cos()[:, None], t_B.sin()[:, None]


def guided_teacher(x_t, t_B, batch, part):
    with_c, with_u = (getattr(TEACHER(x_t, t_B, c), part) for c in (batch.cond, batch.uncond))
    return with_u + GUIDANCE * (with_c - with_u)


def consistency_loss(objective, law, batch, rng, r):
    """Return the sum over elements of g^2 after normalisation, per sample."""
    t_B, c, s = times(law, rng)
    x_t = c * batch.x0 + s * normal(rng)
    dxdt = guided_teacher(x_t, t_B, batch, "F")
    F, dF = torch.func.jvp(
        lambda x, t: STUDENT(x, t, None).F, (x_t, t_B), (c * s * dxdt, (c * s)[:, 0])
    )
    if objective.warm_up == "rcm":
        g = -c * (1 - (r * s) ** 2).sqrt() * (F - dxdt) - r * c * s * x_t - dF
    else:
        g = -(c**2) * (F - dxdt) - r * (c * s * x_t + dF)
    g = g / (g.norm(dim=1, keepdim=True) + 0.1)
    return g.square().sum(1), t_B


def distribution_loss(law, batch, rng):
    """Return the sum over elements of (G - sg(G - grad))^2 for one step of simulation."""
    noise = normal(rng)
    G = STUDENT(noise, torch.full((N,), math.pi / 2, dtype=torch.float64), None).x0
    t_B, c, s = times(law, rng)
    x_t = c * G + s * normal(rng)
    teacher, critic = guided_teacher(x_t, t_B, batch, "x0"), CRITIC(x_t, t_B, batch.cond).x0
    size = (G - teacher).abs().mean(1, keepdim=True).clamp(min=1e-5)
    return ((critic - teacher) / size).square().sum(1)


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_scm(rng, batch):
    objective = scm.Objective(teacher_guidance=GUIDANCE, tangent_warmup=10)
    rng.manual_seed(SEED)
    got = objective(STUDENT, TEACHER, None, batch, rng=rng, step=4)
    squares, t_B = consistency_loss(objective, objective.times, batch, rng.manual_seed(SEED), 0.4)
    close(got.total, (squares / t_B.tan()).mean() / DIM)
    assert list(got.terms) == ["scm", "tangent_rms"]


@pytest.mark.parametrize("step", [4, 10])
def test_rcm(rng, batch, step):
    objective = rcm.Objective(
        dmd_weight=0.7, teacher_guidance=GUIDANCE, tangent_warmup=10, num_steps_max=1
    )
    got = objective(STUDENT, TEACHER, CRITIC, batch, rng=rng.manual_seed(SEED), step=step)
    rng.manual_seed(SEED)
    squares, _ = consistency_loss(objective, objective.times_G, batch, rng, step / 10)
    close(got.terms["scm"], squares.sum())
    expected = 100 * squares.sum()
    if step >= 10:
        squares = distribution_loss(objective.times_D, batch, rng)
        close(got.terms["dmd"], squares.sum())
        expected = expected + 0.7 * squares.sum()
    close(got.total, expected)


def test_dmd2(rng, batch):
    objective = dmd2.Objective(teacher_guidance=GUIDANCE, num_steps_max=1)
    got = objective(STUDENT, TEACHER, CRITIC, batch, rng=rng.manual_seed(SEED), step=0)
    squares = distribution_loss(objective.times, batch, rng.manual_seed(SEED))
    close(got.total, 0.5 * squares.mean() / DIM)


@pytest.mark.parametrize("objective", [dmd2.Objective(), rcm.Objective()], ids=["dmd2", "rcm"])
def test_critic(rng, batch, objective):
    got = objective.critic_loss(STUDENT, CRITIC, batch, rng=rng.manual_seed(SEED), step=1)
    noise = normal(rng.manual_seed(SEED))
    G = STUDENT(noise, torch.full((N,), math.pi / 2, dtype=torch.float64), None).x0
    t_B, c, s = times(getattr(objective, "times_D", None) or objective.times, rng)
    eps = normal(rng)
    squares = (CRITIC(c * G + s * eps, t_B, batch.cond).F - (c * eps - s * G)).square()
    close(got.total, squares.sum() if objective.reduction == "sum" else squares.mean())
