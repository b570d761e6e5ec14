"""The wrapper of velocity networks, guidance, and the closed forms themselves."""

import math
from typing import NamedTuple

import pytest
import torch

from rcm_distill.analytic import Gaussian, GaussianConsistency, GaussianMixture
from rcm_distill.denoiser import Prediction, VelocityDenoiser, guided, map_conditions
from rcm_distill.time import trig


def close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_ideal_velocity_gives_ideal_prediction(randn, rand_t):
    x0, eps, t = randn(32, 3, 4), randn(32, 3, 4), rand_t(32, low=0.0)
    t[0], t[1] = 0.0, math.pi / 2
    cos_t, sin_t = trig(t, like=x0)
    seen = {}

    def net(x_rf, t_rf, cond):
        seen.update(x_rf=x_rf, t_rf=t_rf)
        return eps - x0

    F, predicted = VelocityDenoiser(net)(cos_t * x0 + sin_t * eps, t, None)
    close(F, cos_t * eps - sin_t * x0)
    close(predicted, x0)
    t_rf = seen["t_rf"].reshape(-1, 1, 1)
    close(seen["x_rf"], (1 - t_rf) * x0 + t_rf * eps)


def test_prediction_is_consistent_for_any_network(randn, rand_t):
    x_t, t = randn(16, 3), rand_t(16)
    F, x0 = VelocityDenoiser(lambda x, t, c: torch.sin(3 * x) + t[:, None])(x_t, t, None)
    cos_t, sin_t = trig(t, like=x_t)
    close(x0, cos_t * x_t - sin_t * F)


def test_rounded_timesteps_are_those_of_the_published_script():
    seen = []
    t = torch.tensor([math.atan(80), 1.5, 1.4, 1.0])
    net = lambda x, t_rf, c: (seen.append(t_rf), x)[1]  # noqa: E731
    VelocityDenoiser(net, timestep_dtype="bfloat16")(torch.zeros(4, 2), t, None)
    assert (1000 * seen[0]).round().tolist() == [988, 932, 852, 608]


def test_output_is_at_least_float32():
    x = torch.zeros(2, 3, dtype=torch.bfloat16)
    F, x0 = VelocityDenoiser(lambda x, t, c: x.bfloat16())(x, torch.ones(2), None)
    assert F.dtype == x0.dtype == torch.float32


def test_end_time_is_refused():
    with pytest.raises(ValueError, match="s_B must be None"):
        VelocityDenoiser(lambda x, t, c: x)(
            torch.zeros(2, 3), torch.ones(2), None, s_B=torch.ones(2)
        )


class Counting:
    """A denoiser that depends on its condition and counts its calls."""

    def __init__(self):
        self.batches = []

    def __call__(self, x_t, t_B, cond, *, s_B=None):
        self.batches.append(len(x_t))
        F = x_t * cond + t_B[:, None]
        cos_t, sin_t = trig(t_B, like=x_t)
        return Prediction(F, cos_t * x_t - sin_t * F)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.5])
def test_guidance_forms(randn, rand_t, scale):
    denoiser, x_t, t, c, u = Counting(), randn(5, 3), rand_t(5), randn(5, 3), randn(5, 3)
    with_c, with_u = denoiser(x_t, t, c), denoiser(x_t, t, u)
    first = guided(denoiser, scale, u, "u + s(c - u)")(x_t, t, c)
    second = guided(denoiser, scale, u, "c + s(c - u)")(x_t, t, c)
    for index in (0, 1):
        close(first[index], with_u[index] + scale * (with_c[index] - with_u[index]))
        close(second[index], with_c[index] + scale * (with_c[index] - with_u[index]))


def test_guidance_is_one_batch_and_free_where_it_does_nothing(randn, rand_t):
    denoiser, x_t, t, c = Counting(), randn(5, 3), rand_t(5), randn(5, 3)
    guided(denoiser, 3.0, c)(x_t, t, c)
    assert denoiser.batches == [10]
    assert guided(denoiser, 1.0, c) is denoiser
    assert guided(denoiser, 0.0, c, "c + s(c - u)") is denoiser
    with pytest.raises(ValueError, match="unknown guidance form 'cfg'. Available: u \\+ s"):
        guided(denoiser, 2.0, c, "cfg")


class Encoded(NamedTuple):
    words: torch.Tensor
    pooled: torch.Tensor


def test_conditions_of_any_structure_are_joined(randn):
    a, b = ({"x": Encoded(randn(2, 3), randn(2)), "none": None} for _ in range(2))
    joined = map_conditions(lambda *parts: torch.cat(parts), a, b)
    assert joined["x"].words.shape == (4, 3)
    assert joined["none"] is None
    with pytest.raises(ValueError, match="share one structure, got Tensor, NoneType"):
        map_conditions(torch.add, randn(2), None)
    with pytest.raises(ValueError, match="holds tensors, got str"):
        map_conditions(torch.add, "a", "b")


def test_gaussian_prediction_follows_the_flow(randn, rand_t):
    """Along x_t = m cos t + sqrt(v) z the flow has dx/dt = F, and f is the same for every t."""
    m, s, z, t = randn(3), 0.6, randn(32, 3), rand_t(32)
    path = lambda t: torch.cos(t) * m + torch.sqrt((s * torch.cos(t)) ** 2 + torch.sin(t) ** 2) * z  # noqa: E731
    x_t, dxdt = torch.func.jvp(path, (t[:, None],), (torch.ones(32, 1, dtype=torch.float64),))
    F, x0 = Gaussian(m, s)(x_t, t, None)
    close(F, dxdt)
    cos_t, sin_t = trig(t, like=x_t)
    close(x0, cos_t * x_t - sin_t * F)
    F, x0 = GaussianConsistency(m, s)(x_t, t, None)
    close(x0, m + s * z)
    close(x0, cos_t * x_t - sin_t * F)


def test_mixture_x0_is_the_posterior_mean(randn, rng):
    """Against a self-normalised average over a million draws of the data."""
    mixture = GaussianMixture(
        torch.tensor([[1.5], [-1.0]], dtype=torch.float64),
        torch.tensor([0.3, 0.5], dtype=torch.float64),
        torch.tensor([0.7, 0.3], dtype=torch.float64),
    )
    t, x_t = torch.tensor(0.9, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    x0 = mixture.sample(1_000_000, rng)[:, 0]
    weight = torch.softmax(-0.5 * ((x_t - t.cos() * x0) / t.sin()) ** 2, dim=0)
    expected = (weight * x0).sum()
    got = mixture(x_t.reshape(1, 1), t.reshape(1), None).x0
    assert abs(got.item() - expected.item()) < 0.01
