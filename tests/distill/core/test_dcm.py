"""dCM against its own fixed point: the Gaussian's flow as Euler's method takes it."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from rcm_distill.analytic import Gaussian, GaussianConsistency
from rcm_distill.denoiser import Prediction
from rcm_distill.objectives import dcm
from rcm_distill.objectives.protocol import Batch
from rcm_distill.time import trig

MEAN, STD = 0.4, 0.5
TEACHER = Gaussian(MEAN, STD)


@dataclass(eq=False)
class Tabled:
    """A student with one affine map x0 = slope_j x_t + offset_j per grid time."""

    grid: Tensor  # (N + 1,), falling to 0
    slopes: Tensor  # (N,), for all but the last time, where x0 = x_t
    offsets: Tensor

    def __call__(self, x_t, t_B, cond, *, s_B=None):
        index = (self.grid[None] - t_B[:, None]).abs().argmin(1)
        one, zero = self.slopes.new_ones(1), self.slopes.new_zeros(1)
        slope = torch.cat([self.slopes, one])[index, None]
        x0 = slope * x_t + torch.cat([self.offsets, zero])[index, None]
        cos_t, sin_t = trig(t_B, like=x_t)
        return Prediction((cos_t * x_t - x0) / sin_t.clamp(min=1e-9), x0)


def grid_of(objective):
    u = torch.arange(objective.num_steps + 1, dtype=torch.float64) / objective.num_steps
    return objective.time(u)


def discretised(objective):
    """Take the Gaussian's flow to 0 by Euler's method, from every time of the grid.

    F = a_j x + b_j, so that a step is x <- (1 - h a_j) x - h b_j, and maps are composed backwards.
    """
    grid = grid_of(objective)
    zero, one = (torch.full((len(grid), 1), float(x), dtype=torch.float64) for x in (0, 1))
    b = TEACHER(zero, grid, None).F[:, 0]
    a = TEACHER(one, grid, None).F[:, 0] - b
    slope, offset, slopes, offsets = 1.0, 0.0, [], []
    for j in reversed(range(len(grid) - 1)):
        h = grid[j] - grid[j + 1]
        slope, offset = slope * (1 - h * a[j]), offset - slope * h * b[j]
        slopes.insert(0, slope)
        offsets.insert(0, offset)
    return Tabled(grid, torch.stack(slopes), torch.stack(offsets))


def batch_of(randn, n=64, dim=3):
    x0 = MEAN + STD * randn(n, dim)
    return Batch(x0, None, None, tuple(x0.shape))


def gradients(objective, student, batch, rng):
    learned = [part.detach().clone().requires_grad_() for part in (student.slopes, student.offsets)]
    loss = objective(Tabled(student.grid, *learned), TEACHER, None, batch, rng=rng, step=0)
    return torch.cat(torch.autograd.grad(loss.total, learned))


@pytest.mark.parametrize("skip", [1, 2, 5, 8])
@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_gradient_is_zero_at_the_euler_discretised_map(rng, randn, skip, shift):
    objective = dcm.Objective(num_steps=8, skip=skip, shift=shift, start="grid", reduction="mean")
    exact = discretised(objective)
    assert gradients(objective, exact, batch_of(randn, 256), rng).abs().max() < 1e-11
    wrong = replace(exact, slopes=exact.slopes + 0.1)
    assert gradients(objective, wrong, batch_of(randn, 256), rng).abs().max() > 1e-2
    # The exact consistency function is not its fixed point.
    x, t = randn(9, 1), exact.grid
    f = GaussianConsistency(MEAN, STD)(x, t, None).x0
    assert (exact(x, t, None).x0 - f).abs().max() > 1e-2


def test_the_fixed_point_nears_the_consistency_function_with_order_one(randn):
    errors = []
    for num_steps in (64, 128, 256):
        table = discretised(dcm.Objective(num_steps=num_steps, start="grid"))
        x = torch.ones(1, 1, dtype=torch.float64)
        f = GaussianConsistency(MEAN, STD)(x, table.grid[:1], None).x0
        errors.append((table(x, table.grid[:1], None).x0 - f).abs().item())
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert math.log2(coarse / fine) == pytest.approx(1, abs=0.1)


def test_training_reaches_the_fixed_point(rng, randn):
    objective = dcm.Objective(num_steps=6, skip=3, start="grid", weight=1.0, reduction="mean")
    exact = discretised(objective)
    learned = [(part + 0.3 * randn(6)).requires_grad_() for part in (exact.slopes, exact.offsets)]
    optimizer = torch.optim.Adam(learned, lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for step in range(300):
        student = Tabled(exact.grid, *learned)
        batch = batch_of(randn, 96)
        loss = objective(student, TEACHER, None, batch, rng=rng, step=step).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    for got, expected in zip(learned, (exact.slopes, exact.offsets), strict=True):
        assert (got.detach() - expected).abs().max() < 0.02


def test_loss_is_the_published_one(rng, randn):
    """NVlabs/rcm: 48 steps, shift 5, a uniform start, CFG, the sum of squares times 100."""
    objective, n = dcm.Objective(teacher_guidance=3.0, skip=2), 16
    batch = Batch(randn(n, 3), randn(n, 1), torch.zeros(n, 1, dtype=torch.float64), (n, 3))
    student = GaussianConsistency(0.1, 0.8)

    def teacher(x_t, t_B, cond, *, s_B=None):
        return Gaussian(cond, STD)(x_t, t_B, None)

    got = objective(student, teacher, None, batch, rng=rng.manual_seed(5), step=0)
    u = torch.rand(n, generator=rng.manual_seed(5)).double() * (1 - 2 / 48)
    eps = torch.randn(n, 3, generator=rng, dtype=torch.float64)

    def time(u):
        t_rf = 5 * (1 - u) / (1 + 4 * (1 - u))
        return torch.atan2(t_rf, 1 - t_rf)

    t = time(u)
    x = first = t.cos()[:, None] * batch.x0 + t.sin()[:, None] * eps
    for j in range(2):
        now, then = time(u + j / 48), time(u + (j + 1) / 48)
        with_c, with_u = (teacher(x, now, label).F for label in (batch.cond, batch.uncond))
        x = x - (now - then)[:, None] * (with_u + 3 * (with_c - with_u))
    error = student(first, t, None).x0 - student(x, time(u + 2 / 48), None).x0
    torch.testing.assert_close(got.total, 100 * error.square().sum(), rtol=1e-9, atol=1e-9)


def test_non_finite_samples_are_left_out_and_counted(rng, randn):
    def broken(x_t, t_B, cond, *, s_B=None):
        F, x0 = TEACHER(x_t, t_B, cond)
        return Prediction(F.index_fill(0, torch.tensor([1, 4, 6]), torch.nan), x0)

    loss = dcm.Objective()(
        GaussianConsistency(0.1, 0.8), broken, None, batch_of(randn, 8), rng=rng, step=0
    )
    assert loss.nonfinite.item() == 3
    assert torch.isfinite(loss.total)


def test_messages():
    with pytest.raises(ValueError, match=r"skip must be in \[1, num_steps = 48\], got 49"):
        dcm.Objective(skip=49)
    with pytest.raises(ValueError, match="shift must be positive, got 0"):
        dcm.Objective(shift=0.0)
