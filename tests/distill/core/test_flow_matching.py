"""The teacher's loss: what it is, what it learns, and label dropout."""

import pytest
import torch

from rcm_distill.analytic import Gaussian
from rcm_distill.denoiser import VelocityDenoiser
from rcm_distill.objectives.flow_matching import Objective, flow_matching_term
from rcm_distill.objectives.protocol import Batch
from rcm_distill.time import rf_from_trig, trig


def test_loss_is_the_error_of_the_velocity(randn, rand_t):
    x0, eps, t = randn(16, 3), randn(16, 3), rand_t(16)
    net = lambda x, t, c: torch.sin(x) + t[:, None]  # noqa: E731
    t_rf = rf_from_trig(t)[:, None]
    v = net((1 - t_rf) * x0 + t_rf * eps, t_rf[:, 0], None)
    squares = (v - (eps - x0)).square()
    for reduction, expected in (
        *(("sum", squares.sum()), ("mean", squares.mean())),
        ("mean_of_sums", squares.flatten(1).sum(1).mean()),
    ):
        got = flow_matching_term(
            VelocityDenoiser(net), x0, eps, t, None, velocity="rectified_flow", reduction=reduction
        )
        torch.testing.assert_close(got.loss, expected, rtol=1e-12, atol=1e-12)


def test_trigflow_form_is_the_error_of_x0_over_sin_squared(randn, rand_t):
    x0, eps, t = randn(16, 3), randn(16, 3), rand_t(16)
    denoiser = Gaussian(0.3, 0.8)
    cos_t, sin_t = trig(t, like=x0)
    predicted = denoiser(cos_t * x0 + sin_t * eps, t, None).x0
    expected = ((x0 - predicted) / sin_t).square().sum()
    got = flow_matching_term(denoiser, x0, eps, t, None, velocity="trigflow", reduction="sum").loss
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("velocity", ["rectified_flow", "trigflow"])
def test_learns_the_score_of_the_data(rng, randn, velocity):
    objective = Objective(velocity=velocity, label_dropout=0.0)
    mean, std = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.0, 1.0))
    optimizer = torch.optim.Adam([mean, std], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    for _ in range(200):
        batch = Batch(0.4 + 0.5 * randn(512, 2), None, None, (512, 2))
        loss = objective(Gaussian(mean, std), None, None, batch, rng=rng, step=0).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert mean.item() == pytest.approx(0.4, abs=0.05)
    assert std.item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_labels_are_dropped_with_their_probability(rng, randn, probability):
    seen = []

    def student(x_t, t_B, cond, *, s_B=None):
        seen.append(cond)
        return Gaussian(0.0, 1.0)(x_t, t_B, cond)

    n = 4000
    cond, uncond = torch.ones(n, 3, dtype=torch.int64), torch.zeros(n, 3, dtype=torch.int64)
    batch = Batch(randn(n, 1), cond, uncond, (n, 1))
    Objective(label_dropout=probability)(student, None, None, batch, rng=rng, step=0)
    dropped = (seen[0] == 0).all(1)
    assert ((seen[0] == 0).any(1) == dropped).all()
    share = dropped.double().mean().item()
    assert share == pytest.approx(probability, abs=5 * (probability * (1 - probability) / n) ** 0.5)


def test_messages(rng):
    with pytest.raises(ValueError, match=r"label_dropout must be in \[0, 1\], got 2"):
        Objective(label_dropout=2.0)
    with pytest.raises(ValueError, match="batch.x0 must be a tensor, got None"):
        Objective()(
            Gaussian(0.0, 1.0), None, None, Batch(None, None, None, (2, 3)), rng=rng, step=0
        )
