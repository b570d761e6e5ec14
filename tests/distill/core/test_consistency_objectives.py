"""sCM and rCM against the Gaussian whose consistency function is known."""

import itertools
from dataclasses import replace

import pytest
import torch

from rcm_distill.analytic import Gaussian, GaussianConsistency
from rcm_distill.denoiser import Prediction
from rcm_distill.objectives import rcm, scm
from rcm_distill.objectives._consistency import consistency_tangent
from rcm_distill.objectives.protocol import Batch
from rcm_distill.objectives.time_law import LogNormal

MEAN, STD = 0.4, 0.5
TEACHER = Gaussian(MEAN, STD)
TIMES = LogNormal(P_mean=-0.4, P_std=1.0)


def parameters(mean, std):
    return [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (mean, std)]


def name_of(objective):
    parts = (objective.tangent_norm, objective.tangent_size, objective.reduction)
    return "-".join((type(objective).__module__.rpartition(".")[-1], *parts))


def batch_of(randn, n=64, dim=4):
    x0 = MEAN + STD * randn(n, dim)
    return Batch(x0, None, None, tuple(x0.shape))


def objectives():
    """Every convention that has its fixed point at the exact consistency function."""
    for norm in ("norm_plus_c", "paper"):
        for size, reduction in (("l2", "sum"), ("l2", "mean"), ("rms", "mean")):
            same = {"tangent_norm": norm, "tangent_size": size, "reduction": reduction}
            yield scm.Objective(times=TIMES, tangent_warmup=0, **same)
            yield scm.Objective(times=TIMES, tangent_warmup=0, weighting="none", **same)
            yield rcm.Objective(times_G=TIMES, teacher_guidance=1.0, **same)


@pytest.mark.parametrize("warm_up", ["scm", "rcm", "rcm@20207e5"])
@pytest.mark.parametrize("method", ["exact", "finite_difference", "semi_continuous"])
def test_tangent_vanishes_at_the_exact_consistency_function(randn, rand_t, warm_up, method):
    x_t, t = randn(64, 3), rand_t(64, 0.0, 1.57)
    dxdt = TEACHER(x_t, t, None).F
    student = GaussianConsistency(MEAN, STD)
    tangent = {"r": 1.0, "warm_up": warm_up, "method": method}
    g = consistency_tangent(student, x_t, t, dxdt, None, **tangent)
    assert (
        g.abs().max() < {"exact": 1e-12, "finite_difference": 1e-4, "semi_continuous": 1e-2}[method]
    )
    wrong = consistency_tangent(GaussianConsistency(MEAN, 0.6), x_t, t, dxdt, None, **tangent)
    assert wrong.abs().max() > 1e-2


def test_tangent_is_cos_t_times_the_total_derivative_of_f(randn, rand_t):
    x_t, t = randn(64, 3), rand_t(64)
    student, dxdt = GaussianConsistency(0.1, 0.8), TEACHER(x_t, t, None).F
    f = lambda x, t: student(x, t, None).x0  # noqa: E731
    dfdt = torch.func.jvp(f, (x_t, t), (dxdt, torch.ones_like(t)))[1]
    for warm_up in ("scm", "rcm", "rcm@20207e5"):
        g = consistency_tangent(student, x_t, t, dxdt, None, r=1.0, warm_up=warm_up)
        torch.testing.assert_close(g, t.cos()[:, None] * dfdt, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("r", [0.0, 0.3, 1.0])
def test_warm_up_forms(randn, rand_t, r):
    """Against the formulas written out with a tangent from reverse mode."""
    x, t, student = randn(8, 1), rand_t(8), GaussianConsistency(0.1, 0.8)
    dxdt = TEACHER(x, t, None).F
    c, s = t.cos()[:, None], t.sin()[:, None]
    x_in, t_in = x.clone().requires_grad_(), t.clone().requires_grad_()
    F = student(x_in, t_in, None).F
    by_x, by_t = torch.autograd.grad(F.sum(), (x_in, t_in))
    scaled = c * s * (by_x * dxdt + by_t[:, None])
    F = F.detach()
    expected = {
        "scm": -(c**2) * (F - dxdt) - r * (c * s * x + scaled),
        "rcm": -c * (1 - r**2 * s**2).sqrt() * (F - dxdt) - r * c * s * x - scaled,
        "rcm@20207e5": -c * (1 - r**2 * s**2).sqrt() * (F - dxdt) - r * (c * s * x + scaled),
    }
    got = {
        name: consistency_tangent(student, x, t, dxdt, None, r=r, warm_up=name) for name in expected
    }
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-10, atol=1e-11)
    for one, two in itertools.combinations(got.values(), 2):
        assert torch.allclose(one, two, rtol=1e-10, atol=1e-11) == (r == 1.0)


@pytest.mark.parametrize("objective", list(objectives()), ids=name_of)
def test_gradient_is_zero_at_the_fixed_point_only(rng, randn, objective):
    batch = batch_of(randn)
    for std, at_rest in ((STD, True), (0.6, False)):
        mean_std = parameters(MEAN, std)
        student = GaussianConsistency(*mean_std)
        critic = Gaussian(MEAN, std)
        loss = objective(student, TEACHER, critic, batch, rng=rng, step=0)
        size = max(g.abs().item() for g in torch.autograd.grad(loss.total, mean_std))
        assert (size < 1e-9) == at_rest
        assert loss.nonfinite.item() == 0


@pytest.mark.parametrize("objective", list(objectives())[::4], ids=name_of)
def test_training_reaches_the_fixed_point(rng, randn, objective):
    mean, std = parameters(0.0, 0.9)
    optimizer = torch.optim.Adam([mean, std], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)
    for step in range(250):
        # The exact critic: the law of what the student generates.
        critic = Gaussian(mean.detach().clone(), std.detach().clone())
        student = GaussianConsistency(mean, std)
        loss = objective(student, TEACHER, critic, batch_of(randn, 128), rng=rng, step=5 * step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        schedule.step()
    assert mean.item() == pytest.approx(MEAN, abs=0.02)
    assert std.item() == pytest.approx(STD, abs=0.02)


def test_rms_size_with_mean_does_not_depend_on_the_dimension(randn, rng):
    """One sample repeated along its axes has the same loss and the same gradient."""
    objective = scm.Objective(times=TIMES, tangent_warmup=0, tangent_size="rms")
    x_t, t, found = randn(32, 2), 0.1 + torch.rand(32, generator=rng, dtype=torch.float64), []
    for repeats in (1, 50):
        mean_std = parameters(0.0, 0.9)
        x = x_t.repeat(1, repeats)
        term = objective._consistency().term(
            GaussianConsistency(*mean_std), x, t, TEACHER(x, t, None).F, None, 1.0
        )
        found.append([term.loss.detach(), *torch.autograd.grad(term.loss, mean_std)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_of_sums"])
def test_non_finite_samples_are_left_out_and_counted(randn, rand_t, reduction):
    objective = replace(scm.Objective(), tangent_warmup=0, weighting="none", reduction=reduction)
    x_t, t, mean_std = randn(8, 3), rand_t(8), parameters(0.0, 0.9)
    dxdt = TEACHER(x_t, t, None).F
    bad = dxdt.clone()
    bad[2, 1], bad[5] = torch.nan, torch.inf
    good = torch.tensor([0, 1, 3, 4, 6, 7])
    student, found = GaussianConsistency(*mean_std), []
    for x, times, d in ((x_t, t, bad), (x_t[good], t[good], dxdt[good])):
        term = objective._consistency().term(student, x, times, d, None, 1.0)
        found.append([term.loss.detach(), *torch.autograd.grad(term.loss, mean_std)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)
    batch = batch_of(randn, 8, 3)

    def broken(x, t, cond, *, s_B=None):
        F, x0 = TEACHER(x, t, cond)
        return Prediction(F.index_fill(0, torch.tensor([1, 4, 6]), torch.nan), x0)

    loss = objective(student, broken, None, batch, rng=torch.Generator(), step=0)
    assert loss.nonfinite.item() == 3
    assert torch.isfinite(loss.total)


def test_rcm_compares_distributions_only_after_warm_up(rng, randn):
    objective = rcm.Objective(tangent_warmup=10, student_update_freq=5, teacher_guidance=1.0)
    student, critic = GaussianConsistency(MEAN, 0.6), Gaussian(MEAN, 0.6)
    for step in (0, 9, 10, 15):
        terms = objective(student, TEACHER, critic, batch_of(randn), rng=rng, step=step).terms
        assert ("dmd" in terms) == (step >= 10)
    phases = [objective.phase(step) for step in range(21)]
    assert [i for i, phase in enumerate(phases) if phase == "student"] == [*range(11), 15, 20]
    alone = replace(objective, dmd_weight=0.0)
    assert "critic" not in alone.needs
    assert alone.phase(11) == "student"
