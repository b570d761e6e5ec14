"""Samplers against closed-form flows, published loops and each other."""

import math

import numpy as np
import pytest
import torch

from rcm_distill.analytic import Gaussian, GaussianConsistency, GaussianMixture
from rcm_distill.denoiser import VelocityDenoiser
from rcm_distill.samplers import consistency, euler, heun, unipc


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2)])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_order_of_convergence(randn, sampler, order, shift):
    """The flow of N(m, s^2) takes noise z at pi/2 to m + s z."""
    noise, mean, std = randn(8, 3), randn(3), 0.6
    steps = np.array([32, 64, 128, 256])
    errors = [
        (
            sampler.sample(Gaussian(mean, std), noise, None, times=euler.euler_times(n, shift))
            - (mean + std * noise)
        ).norm()
        for n in steps
    ]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_converges_with_its_order(randn, order):
    """From pi/2 to 0 with an order less at both ends: 2 in all, and UniC raises order 1 to 2.

    On the same grids it is nearer to the flow than Heun's method at half the evaluations.
    """
    noise, mean, std = randn(8, 3), randn(3), 0.6
    steps = np.array([32, 64, 128, 256])

    def error(sample, n, **options):
        times = euler.euler_times(int(n))
        got = sample(Gaussian(mean, std), noise, None, times=times, **options)
        return (got - (mean + std * noise)).norm()

    errors = [error(unipc.sample, n, order=order) for n in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    print(order, slope, [e.item() for e in errors])
    assert slope > 1.75
    if order > 1:
        assert errors[0] < error(euler.sample, 32)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(("steps", "shift"), [(4, 1.0), (12, 5.0)])
def test_unipc_is_that_of_diffusers(randn, order, steps, shift):
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=shift,
        solver_order=order,
    )
    scheduler.set_timesteps(steps)
    sigmas = scheduler.sigmas.double().tolist()
    weight, noise = randn(5, 5), randn(2, 5)
    net = lambda x, t, cond: torch.tanh(x @ weight) + t[:, None]  # noqa: E731
    x = noise * sigmas[0]
    for sigma, timestep in zip(sigmas, scheduler.timesteps, strict=False):
        velocity = net(x, torch.full((2,), sigma, dtype=torch.float64), None)
        x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
    times = [math.atan2(sigma, 1 - sigma) for sigma in sigmas]
    got = unipc.sample(VelocityDenoiser(net), noise, None, times=times, order=order)
    torch.testing.assert_close(got, x, rtol=1e-4, atol=1e-4)


def test_less_than_full_renoising_keeps_the_noise_that_was_found(randn):
    """Two steps from pi/2 are affine in both noises, with coefficients in closed form."""
    mean, std, t, n = 0.7, 0.4, 0.9, 6
    noise = randn(n, 3)
    fresh = torch.stack([torch.randn(3, generator=g) for g in generators(*range(n))]).double()
    root = math.sqrt((std * math.cos(t)) ** 2 + math.sin(t) ** 2)
    for renoise in (0.0, 0.6, 1.0):
        got = consistency.sample(
            GaussianConsistency(mean, std),
            noise,
            None,
            times=(math.pi / 2, t, 0.0),
            rngs=generators(*range(n)),
            renoise=renoise,
        )
        kept = math.sqrt(1 - renoise**2)
        centred = (math.cos(t) * std + math.sin(t) * kept) * noise
        expected = mean + std / root * (centred + math.sin(t) * renoise * fresh)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def published_loop(velocity, noise, rng, times):
    """Run rCM's inference loop in rectified-flow time, as the paper's script states it."""
    t = [math.sin(a) / (math.cos(a) + math.sin(a)) for a in times]
    x = noise * t[0]
    for now, then in zip(t, t[1:], strict=False):
        x = (1 - then) * (x - now * velocity(x, now)) + then * torch.randn(x.shape, generator=rng)
    return x


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("preset", ["paper", "repository"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_consistency_sampler_is_the_published_loop(randn, steps, preset, dtype):
    weight, noise = randn(5, 5).to(dtype), randn(1, 5).to(dtype)
    net = lambda x, t, cond: torch.tanh(x @ weight) + t[:, None]  # noqa: E731
    times = consistency.consistency_times(steps, 80, preset)
    got = consistency.sample(VelocityDenoiser(net), noise, None, times=times, rngs=generators(7))
    expected = published_loop(
        lambda x, t: net(x, torch.full((1,), t, dtype=dtype), None),
        noise[0],
        generators(7)[0],
        times,
    )
    tolerance = 1e-6 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(got[0], expected[0], rtol=tolerance, atol=tolerance)


def test_consistency_sampler_draws_the_data_law(randn):
    """With the exact consistency function every number of steps gives N(m, s^2)."""
    mean, std, n = 0.7, 0.4, 4000
    noise = randn(n, 1)
    for steps in (1, 2, 4):
        times = consistency.consistency_times(steps, sigma_max=1e6)
        x = consistency.sample(
            GaussianConsistency(mean, std), noise, None, times=times, rngs=generators(*range(n))
        )
        assert x.mean().item() == pytest.approx(mean, abs=5 * std / math.sqrt(n))
        assert x.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * n))


@pytest.mark.parametrize("sampler", [consistency, euler, heun, unipc])
def test_a_sample_does_not_depend_on_its_batch(randn, sampler):
    mixture = GaussianMixture(
        randn(3, 2), torch.full((3,), 0.4, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    )
    noise, times = randn(6, 2), consistency.consistency_times(4)
    whole = sampler.sample(mixture, noise, None, times=times, rngs=generators(*range(6)))
    alone = [
        sampler.sample(mixture, noise[i : i + 1], None, times=times, rngs=generators(i))
        for i in (5, 0, 3, 1, 4, 2)
    ]
    expected = torch.cat([alone[i] for i in (1, 3, 5, 2, 4, 0)])
    torch.testing.assert_close(whole, expected, rtol=1e-13, atol=1e-13)


def test_grids():
    assert euler.euler_times(2) == pytest.approx((math.pi / 2, math.pi / 4, 0))
    shifted = euler.euler_times(4, shift=5.0)
    expected = [1000, 937.5, 833.3333, 625, 0]
    assert [1000 * euler.rf_time(t) for t in shifted] == pytest.approx(expected, rel=1e-6)
    first = math.atan(200)
    assert consistency.consistency_times(4, 200) == (first, 1.3, 1.0, 0.6, 0.0)
    assert consistency.consistency_times(3, 200, "repository") == (first, 1.5, 1.4, 0.0)


@pytest.mark.parametrize("sampler", [consistency, euler, heun, unipc])
@pytest.mark.parametrize("steps", [1, 3])
def test_nfe_is_what_is_spent(randn, sampler, steps):
    calls = []

    def denoiser(x_t, t_B, cond, *, s_B=None):
        calls.append(1)
        return Gaussian(0.0, 1.0)(x_t, t_B, cond)

    times = consistency.consistency_times(steps)
    sampler.sample(denoiser, randn(1, 2), None, times=times, rngs=generators(0))
    assert sampler.nfe(times, guided=False) == len(calls)
    assert sampler.nfe(times, guided=True) == 2 * len(calls)


def test_messages(randn):
    with pytest.raises(
        ValueError, match="preset 'paper' has no grid of 5 steps. Available: 1, 2, 3"
    ):
        consistency.consistency_times(5)
    with pytest.raises(ValueError, match="unknown preset 'best'. Available: paper, repository"):
        consistency.consistency_times(4, preset="best")
    with pytest.raises(ValueError, match="sigma_max must lie above the later times"):
        consistency.consistency_times(4, sigma_max=3.0)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        euler.euler_times(0)
    with pytest.raises(ValueError, match="must fall from at most pi/2 to 0"):
        euler.sample(Gaussian(0.0, 1.0), randn(1, 2), None, times=(1.0, 1.2, 0.0))
    with pytest.raises(ValueError, match="order must be 1, 2 or 3, got 4"):
        unipc.sample(Gaussian(0.0, 1.0), randn(1, 2), None, times=(1.0, 0.0), order=4)
    with pytest.raises(ValueError, match=r"renoise must be in \[0, 1\], got 2"):
        consistency.sample(
            Gaussian(0.0, 1.0),
            randn(1, 2),
            None,
            times=(1.0, 0.0),
            rngs=generators(0),
            renoise=2,
        )
    with pytest.raises(ValueError, match=r"one generator per sample \(2\), got 1"):
        consistency.sample(
            Gaussian(0.0, 1.0), randn(2, 2), None, times=(1.5, 0.0), rngs=generators(0)
        )
