"""sCM and rCM on a mixture of Gaussians, whose flow map in one dimension is known by quantiles."""

import math

import pytest
import torch

from rcm_distill.analytic import GaussianMixture
from rcm_distill.denoiser import Prediction
from rcm_distill.objectives._consistency import consistency_tangent
from rcm_distill.time import trig

MEANS = torch.tensor([[-1.0], [0.9]], dtype=torch.float64)
STDS = torch.tensor([0.3, 0.5], dtype=torch.float64)
WEIGHTS = torch.tensor([0.4, 0.6], dtype=torch.float64)
TEACHER = GaussianMixture(MEANS, STDS, WEIGHTS)


def levels(x, cos_t, sin_t):
    """Return the distribution function and the density of x_t (B, 1)."""
    variance = (STDS * cos_t) ** 2 + sin_t**2
    z = (x - cos_t * MEANS[:, 0]) / variance.sqrt()
    density = torch.exp(-0.5 * z**2) / (2 * math.pi * variance).sqrt()
    share = 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    return (WEIGHTS * share).sum(1, keepdim=True), (WEIGHTS * density).sum(1, keepdim=True)


def consistency_function(x_t, t_B, cond, *, s_B=None):
    """The flow keeps the order of points: f(x, t) has at 0 the quantile that x has at t."""
    cos_t, sin_t = trig(t_B, like=x_t)
    wanted, _ = levels(x_t, cos_t, sin_t)
    one, zero = torch.ones_like(cos_t), torch.zeros_like(cos_t)
    with torch.no_grad():
        low, high = torch.full_like(x_t, -6.0), torch.full_like(x_t, 6.0)
        for _ in range(60):
            middle = (low + high) / 2
            below = levels(middle, one, zero)[0] < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    # One Newton step from the root changes nothing but gives it the derivatives of the root.
    share, density = levels(low, one, zero)
    x0 = low + (wanted - share) / density
    return Prediction((cos_t * x_t - x0) / sin_t, x0)


@pytest.mark.parametrize("warm_up", ["scm", "rcm", "rcm@20207e5"])
def test_tangent_vanishes_at_the_exact_consistency_function(rng, randn, rand_t, warm_up):
    t = rand_t(64, 0.1, 1.5)
    x_t = t.cos()[:, None] * TEACHER.sample(64, rng) + t.sin()[:, None] * randn(64, 1)
    dxdt = TEACHER(x_t, t, None).F
    g = consistency_tangent(consistency_function, x_t, t, dxdt, None, r=1.0, warm_up=warm_up)
    assert g.abs().max() < 1e-7
    wrong = consistency_tangent(TEACHER, x_t, t, dxdt, None, r=1.0, warm_up=warm_up)
    assert wrong.abs().max() > 1e-2
