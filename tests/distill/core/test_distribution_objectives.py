"""DMD2's term against laws whose scores are known, and the critic that learns them."""

import math

import pytest
import torch

from rcm_distill.analytic import Gaussian, GaussianConsistency, GaussianMixture
from rcm_distill.objectives import dmd2, rcm
from rcm_distill.objectives._updates import Turns
from rcm_distill.objectives.protocol import Batch
from rcm_distill.objectives.time_law import UniformShift

MEAN, STD = 0.4, 0.5
TEACHER = Gaussian(MEAN, STD)


def batch_of(n=256, dim=2):
    # x0 is not used by the method; it says that the noise is to be fp64.
    return Batch(torch.zeros(n, dim, dtype=torch.float64), None, None, (n, dim))


def parameters(*values):
    return [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in values]


@pytest.mark.parametrize("backward", ["random", "fixed"])
@pytest.mark.parametrize("normaliser", ["per_sample", "batch"])
def test_gradient_is_zero_where_the_laws_are_equal(rng, backward, normaliser):
    objective = dmd2.Objective(backward=backward, normaliser=normaliser)
    for std, at_rest in ((STD, True), (0.7, False)):
        mean_std = parameters(MEAN, std)
        student, critic = GaussianConsistency(*mean_std), Gaussian(MEAN, std)
        for step in (0, 5, 10, 15):
            loss = objective(student, TEACHER, critic, batch_of(), rng=rng, step=step).total
            size = max(g.abs().item() for g in torch.autograd.grad(loss, mean_std))
            assert (size < 1e-9) == at_rest


def test_training_with_the_exact_critic_reaches_the_teachers_law(rng):
    objective = dmd2.Objective()
    mean, std = parameters(-0.3, 0.9)
    optimizer = torch.optim.Adam([mean, std], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)
    for step in range(250):
        critic = Gaussian(mean.detach().clone(), std.detach().clone())
        student = GaussianConsistency(mean, std)
        loss = objective(student, TEACHER, critic, batch_of(), rng=rng, step=5 * step).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert mean.item() == pytest.approx(MEAN, abs=0.02)
    assert std.item() == pytest.approx(STD, abs=0.02)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_missing_mode_pulls_the_student_towards_it(rng, side):
    teacher = GaussianMixture(
        torch.tensor([[-1.0], [1.0]], dtype=torch.float64),
        torch.tensor([0.4, 0.4], dtype=torch.float64),
        torch.tensor([0.5, 0.5], dtype=torch.float64),
    )
    mean, std = parameters(side, 0.4)
    student, critic = GaussianConsistency(mean, std), Gaussian(side, 0.4)
    objective = dmd2.Objective(num_steps_max=1)
    batch = batch_of(4096, 1)
    loss = objective(student, teacher, critic, batch, rng=rng, step=0).total
    (slope,) = torch.autograd.grad(loss, mean)
    assert slope.item() * side > 0.01


def test_simulation_is_differentiable_in_its_last_step_only(rng):
    """d G / d std through one step of the exact consistency function, times held fixed."""
    (std,) = parameters(0.7)
    seen = []

    def student(x_t, t_B, cond, *, s_B=None):
        out = GaussianConsistency(0.0, std)(x_t, t_B, cond)
        seen.append((x_t, t_B, out.x0.requires_grad))
        return out

    matching = dmd2.Objective()._matching()
    G = matching.simulate(student, batch_of(), rng, 4, gradient=True)
    assert [grad for *_, grad in seen] == [False, False, False, True]
    assert [round(t[0].item(), 4) for _, t, _ in seen] == [round(math.pi / 2, 4), 1.3, 1.0, 0.6]
    (slope,) = torch.autograd.grad(G.sum(), std)
    x_t, t_B, _ = seen[-1]
    (expected,) = torch.autograd.grad(GaussianConsistency(0.0, std)(x_t, t_B, None).x0.sum(), std)
    torch.testing.assert_close(slope, expected)
    assert not matching.simulate(student, batch_of(), rng, 2, gradient=False).requires_grad


def test_random_simulation_times_fall(rng):
    seen = []

    def student(x_t, t_B, cond, *, s_B=None):
        seen.append(t_B)
        return GaussianConsistency(0.0, 0.5)(x_t, t_B, cond)

    matching = rcm.Objective(times_D=UniformShift(shift=5.0))._matching()
    matching.simulate(student, batch_of(), rng, 4, gradient=False)
    times = torch.stack(seen)
    assert (times[0] == math.pi / 2).all()
    assert (times.diff(dim=0) <= 0).all()
    assert times[1].std() > 0.05


def test_the_student_generates_its_own_law_in_simulation(rng):
    objective = dmd2.Objective()
    for num_steps in (1, 2, 4):
        G = objective._matching().simulate(
            GaussianConsistency(MEAN, STD), batch_of(20_000, 1), rng, num_steps, gradient=False
        )
        assert G.mean().item() == pytest.approx(MEAN, abs=5 * STD / math.sqrt(20_000))
        assert G.std().item() == pytest.approx(STD, rel=5 / math.sqrt(40_000))


@pytest.mark.parametrize("objective", [dmd2.Objective(), rcm.Objective()], ids=["dmd2", "rcm"])
def test_the_critic_learns_the_students_score(rng, objective):
    mean, std = parameters(0.0, 1.0)
    student = GaussianConsistency(MEAN, STD)
    optimizer = torch.optim.Adam([mean, std], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    for step in range(200):
        loss = objective.critic_loss(
            student, Gaussian(mean, std), batch_of(512), rng=rng, step=step
        )
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        schedule.step()
    assert mean.item() == pytest.approx(MEAN, abs=0.05)
    assert std.item() == pytest.approx(STD, abs=0.05)


@pytest.mark.parametrize(("warm_up", "frequency"), [(0, 5), (7, 5), (1000, 10)])
def test_turns_count_both_networks(warm_up, frequency):
    turns, student, critic = Turns(warm_up=warm_up, frequency=frequency), 0, 0
    for step in range(warm_up + 53):
        assert (turns.student_updates(step), turns.critic_updates(step)) == (student, critic)
        if turns.phase(step) == "student":
            student += 1
        else:
            critic += 1


def test_messages():
    with pytest.raises(ValueError, match="needs 3 backward_times, got 1"):
        dmd2.Objective(backward_times=(1.0,))
    with pytest.raises(ValueError, match="num_steps_max must be at least 1, got 0"):
        rcm.Objective(num_steps_max=0)
    with pytest.raises(ValueError, match="student_update_freq must be at least 2, got 1"):
        rcm.Objective(student_update_freq=1)
    with pytest.raises(ValueError, match="needs a teacher, got None"):
        dmd2.Objective()(TEACHER, None, TEACHER, batch_of(), rng=torch.Generator(), step=0)
