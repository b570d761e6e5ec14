"""MeanFlow against the average velocity of a Gaussian, which is known."""

import math
from dataclasses import replace

import pytest
import torch

from rcm_distill.analytic import Gaussian, GaussianConsistency, GaussianMeanFlow
from rcm_distill.denoiser import MeanVelocityDenoiser, VelocityDenoiser
from rcm_distill.objectives import meanflow
from rcm_distill.objectives.protocol import Batch
from rcm_distill.samplers import consistency, euler
from rcm_distill.samplers import meanflow as jumps
from rcm_distill.time import rf_from_trig, rf_velocity

MEAN, STD = 0.4, 0.5
TEACHER = Gaussian(MEAN, STD)


def parameters(*values):
    return [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in values]


def batch_of(randn, n=64, dim=4):
    x0 = MEAN + STD * randn(n, dim)
    return Batch(x0, None, None, tuple(x0.shape))


def ordered(rand_t, n):
    return torch.stack([rand_t(n), rand_t(n)]).sort(dim=0, descending=True).values


def test_the_closed_form_is_the_mean_of_the_velocity_along_the_flow(randn, rand_t):
    """By the positions of one point of the flow at both times, and by its two limits."""
    z, (t, s) = randn(16, 3), ordered(rand_t, 16)

    def at(t):
        c, n = t.cos()[:, None], t.sin()[:, None]
        x_t = MEAN * c + ((STD * c) ** 2 + n**2).sqrt() * z
        return x_t, x_t / (c + n), rf_from_trig(t)[:, None]

    (x_t, rf_t, time_t), (_, rf_s, time_s) = at(t), at(s)
    exact = GaussianMeanFlow(MEAN, STD)
    u = rf_velocity(exact(x_t, t, None, s_B=s).F, x_t, t)
    torch.testing.assert_close(u, (rf_t - rf_s) / (time_t - time_s), rtol=1e-9, atol=1e-9)
    for got, expected in (
        (exact(x_t, t, None, s_B=t), TEACHER(x_t, t, None)),
        (exact(x_t, t, None), GaussianConsistency(MEAN, STD)(x_t, t, None)),
    ):
        torch.testing.assert_close(tuple(got), tuple(expected), rtol=1e-11, atol=1e-11)


def test_the_target_is_the_meanflow_identity_written_in_rectified_flow_time(randn, rand_t):
    """v - (t - s) du/dt with the derivative taken where the paper takes it."""
    x_t, (t, s), weight = randn(16, 4), ordered(rand_t, 16), randn(6, 4)
    v_t = TEACHER(x_t, t, None).F

    def net(x, t, cond, s):
        return torch.tanh(torch.cat([x, t[:, None], s[:, None]], 1) @ weight)

    drawn = meanflow._Drawn(x_t, t, s, v_t)
    batch = batch_of(randn, 16)
    x_rf = x_t / (t.cos() + t.sin())[:, None]
    t_rf, s_rf = rf_from_trig(t), rf_from_trig(s)
    v = rf_velocity(v_t, x_t, t)
    _, du = torch.func.jvp(
        lambda x, t: net(x, t, None, s_rf), (x_rf, t_rf), (v, torch.ones_like(t_rf))
    )
    for r in (0.0, 0.3, 1.0):
        got = meanflow.Objective()._target(MeanVelocityDenoiser(net), drawn, batch, r)
        expected = v - r * (t_rf - s_rf)[:, None] * du
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", ["squared_l2", "rms"])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_gradient_is_zero_at_the_average_velocity_only(rng, randn, power, norm):
    objective = meanflow.Objective(norm_power=power, norm=norm)
    for std, at_rest in ((STD, True), (0.6, False)):
        learned = parameters(MEAN, std)
        loss = objective(
            GaussianMeanFlow(*learned), TEACHER, None, batch_of(randn), rng=rng, step=0
        )
        size = max(g.abs().item() for g in torch.autograd.grad(loss.total, learned))
        assert (size < 1e-9) == at_rest


def test_gradient_on_data_is_zero_in_expectation(rng, randn):
    """Within five standard errors over 64 batches; a wrong student is far outside."""
    objective = meanflow.Objective(velocity="data", norm_power=0.0, reduction="mean")
    for std, at_rest in ((STD, True), (0.6, False)):
        learned = parameters(MEAN, std)
        found = []
        for _ in range(64):
            loss = objective(
                GaussianMeanFlow(*learned), None, None, batch_of(randn, 512), rng=rng, step=0
            )
            found.append(torch.autograd.grad(loss.total, learned)[1])
        slopes = torch.stack(found)
        error = slopes.std() / math.sqrt(len(slopes))
        assert (slopes.mean().abs() < 5 * error).item() == at_rest


def test_training_reaches_the_average_velocity(rng, randn):
    objective = meanflow.Objective(reduction="mean")
    learned = parameters(0.0, 0.9)
    optimizer = torch.optim.Adam(learned, lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 150)
    for step in range(150):
        student = GaussianMeanFlow(*learned)
        loss = objective(student, TEACHER, None, batch_of(randn, 256), rng=rng, step=step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        schedule.step()
    assert learned[0].item() == pytest.approx(MEAN, abs=0.01)
    assert learned[1].item() == pytest.approx(STD, abs=0.01)


def test_the_loss_is_the_published_one(rng, randn):
    """The same draws through the formulas: weights, share of s = t, guidance, warm-up."""
    objective = meanflow.Objective(
        teacher_guidance=3.0, tangent_warmup=10, norm_power=0.7, equal_share=0.5
    )
    student, n = GaussianMeanFlow(0.1, 0.8), 16
    batch = Batch(randn(n, 3), randn(n, 1), torch.zeros(n, 1, dtype=torch.float64), (n, 3))

    def teacher(x_t, t_B, cond, *, s_B=None):
        return Gaussian(cond, STD)(x_t, t_B, None)

    got = objective(student, teacher, None, batch, rng=rng.manual_seed(5), step=4)
    rng.manual_seed(5)
    one, two = (objective.times.sample(n, rng, "cpu").double() for _ in range(2))
    t = torch.maximum(one, two)
    s = torch.where(torch.rand(n, generator=rng) < 0.5, t, torch.minimum(one, two))
    assert 0 < (s == t).sum() < n
    c, sin = t.cos()[:, None], t.sin()[:, None]
    x_t = c * batch.x0 + sin * torch.randn(n, 3, generator=rng, dtype=torch.float64)
    with_c, with_u = (teacher(x_t, t, label).F for label in (batch.cond, batch.uncond))
    target = objective._target(
        student, meanflow._Drawn(x_t, t, s, with_u + 3 * (with_c - with_u)), batch, 0.4
    )
    error = rf_velocity(student(x_t, t, None, s_B=s).F, x_t, t) - target
    squares = error.square().sum(1)
    torch.testing.assert_close(got.total, (squares / (squares + 0.01) ** 0.7).sum())


def test_the_rms_norm_has_the_gradient_of_fastgens_target(rng, randn):
    """||u - sg(u + w e)||^2 with e = (target - u) / sqrt(D), w = 1 / (||e|| + c), written out."""
    objective = meanflow.Objective(norm="rms", norm_constant=10.0, equal_share=0.0)
    learned = parameters(0.1, 0.8)
    student, batch = GaussianMeanFlow(*learned), batch_of(randn)
    got = objective(student, TEACHER, None, batch, rng=rng.manual_seed(3), step=0)
    drawn = objective._draw(TEACHER, batch, rng.manual_seed(3))
    target = objective._target(student, drawn, batch, 1.0)
    x_t, t_B, s_B, _ = drawn
    u = rf_velocity(student(x_t, t_B, None, s_B=s_B).F, x_t, t_B)
    e = (target - u.detach()) / math.sqrt(u[0].numel())
    w = 1 / (e.norm(dim=1, keepdim=True) + 10.0)
    written = (u - (u.detach() + w * e)).square().sum()
    for one, two in zip(
        *(torch.autograd.grad(x, learned) for x in (got.total, written)), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_non_finite_samples_are_left_out_and_counted(rng, randn):
    def broken(x_t, t_B, cond, *, s_B=None):
        F, x0 = TEACHER(x_t, t_B, cond)
        return type(TEACHER(x_t, t_B, cond))(F.index_fill(0, torch.tensor([1, 4]), torch.nan), x0)

    learned = parameters(MEAN, 0.7)
    loss = meanflow.Objective()(
        GaussianMeanFlow(*learned), broken, None, batch_of(randn, 8), rng=rng, step=0
    )
    assert loss.nonfinite.item() == 2
    assert all(torch.isfinite(g) for g in torch.autograd.grad(loss.total, learned))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_jumps_follow_the_flow_exactly(randn, steps):
    noise = randn(8, 3)
    times = jumps.euler_times(steps, shift=2.0)
    got = jumps.sample(GaussianMeanFlow(MEAN, STD), noise, None, times=times)
    torch.testing.assert_close(got, MEAN + STD * noise, rtol=1e-12, atol=1e-12)
    assert jumps.nfe(times) == steps


def test_one_jump_is_one_step_of_consistency_sampling(randn):
    noise, student = randn(8, 3), GaussianMeanFlow(0.1, 0.8)
    times = (math.pi / 2, 0.0)
    rngs = [torch.Generator() for _ in range(8)]
    one = jumps.sample(student, noise, None, times=times)
    other = consistency.sample(student, noise, None, times=times, rngs=rngs)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert (one - euler.sample(Gaussian(0.1, 0.8), noise, None, times=times)).abs().max() > 0.1


def test_messages(rng, randn):
    with pytest.raises(ValueError, match=r"equal_share must be in \[0, 1\], got 2"):
        meanflow.Objective(equal_share=2.0)
    with pytest.raises(ValueError, match="norm_constant must be positive, got 0"):
        meanflow.Objective(norm_constant=0.0)
    assert meanflow.Objective(velocity="data").needs == {"data", "end_time"}
    student = VelocityDenoiser(lambda x, t, cond: x)
    with pytest.raises(ValueError, match="has no end time: s_B must be None"):
        replace(meanflow.Objective(), velocity="data")(
            student, None, None, batch_of(randn), rng=rng, step=0
        )
