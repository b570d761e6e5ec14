"""Averages of weights: exponents, weights of each law, resumption."""

import pytest
import torch

from rcm_distill.ema import Averages, Constant, HalfLife, gamma_from_length


@pytest.mark.parametrize(("length", "gamma"), [(0.10, 6.937), (0.05, 16.972), (0.01, 96.995)])
def test_published_exponents(length, gamma):
    assert gamma_from_length(length) == pytest.approx(gamma, abs=1e-3)


def test_average_is_the_power_weighted_mean(randn):
    parameter, values = torch.zeros(4, dtype=torch.float64), randn(200, 4)
    ema = Averages([parameter], (0.05, 0.10))
    for step, value in enumerate(values, start=1):
        parameter.copy_(value)
        ema.update(step)
    gammas = [gamma_from_length(law.length) for law in ema.laws]
    for gamma, (average,) in zip(gammas, ema.averages, strict=True):
        k = torch.arange(0, 201, dtype=torch.float64)
        weight = ((k / 200) ** (gamma + 1)).diff()
        torch.testing.assert_close(average, weight @ values, rtol=1e-12, atol=1e-12)


def test_length_is_the_relative_spread_of_the_weights():
    steps = 20_000
    for length in (0.05, 0.10):
        k = torch.arange(0, steps + 1, dtype=torch.float64) / steps
        weight, at = (k ** (gamma_from_length(length) + 1)).diff(), (k[1:] + k[:-1]) / 2
        mean = (weight * at).sum()
        spread = (weight * (at - mean) ** 2).sum().sqrt()
        assert spread.item() == pytest.approx(length, rel=1e-4)


def averaged(law, values):
    parameter = torch.full_like(values[0], 1e6)
    ema = Averages([parameter], (law,))
    for step, value in enumerate(values, start=1):
        parameter.copy_(value)
        ema.update(step)
    return ema.averages[0][0]


def test_a_constant_decay_copies_until_its_start(randn):
    values, decay, start = randn(30, 4), 0.9, 12
    k = torch.arange(start, 31, dtype=torch.float64)
    weight = (1 - decay) * decay ** (30 - k)
    weight[0] = decay ** (30 - start)
    got = averaged(Constant(decay=decay, start=start), values)
    torch.testing.assert_close(got, weight @ values[start - 1 :], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rampup", [None, 0.05])
def test_half_of_a_weight_is_left_after_a_half_life(randn, rampup):
    """With a ramp-up the half-life is that share of the updates, until it is reached."""
    law, values = HalfLife(updates=10.0, rampup=rampup), randn(1000, 4)
    ten = 1.0
    for step in range(900, 910):
        ten *= law.beta(step)
    assert ten == pytest.approx(0.5)
    assert law.beta(40) == pytest.approx(0.5 ** (1 / (10 if rampup is None else 2)))
    betas = torch.tensor([law.beta(k) for k in range(1, 1001)], dtype=torch.float64)
    kept = betas.flip(0).cumprod(0).flip(0)
    weight = (1 - betas) * torch.cat([kept[1:], torch.ones(1, dtype=torch.float64)])
    start = kept[0] * 1e6  # of the parameters before the first update
    torch.testing.assert_close(averaged(law, values), weight @ values + start)


def test_first_update_copies_and_state_comes_back(randn):
    parameter = randn(3)
    ema = Averages([parameter], (0.05,))
    parameter.add_(1)
    ema.update(1)
    torch.testing.assert_close(ema.averages[0][0], parameter, rtol=0, atol=0)
    other = Averages([randn(3)], (0.05,))
    other.load_state_dict(ema.state_dict())
    torch.testing.assert_close(other.averages, ema.averages, rtol=0, atol=0)


def test_messages():
    with pytest.raises(ValueError, match=r"length must be in \(0, 0.28\), got 0.5"):
        gamma_from_length(0.5)
    with pytest.raises(ValueError, match="from 1, got 0"):
        Averages([torch.zeros(1)], (0.05,)).update(0)
    with pytest.raises(ValueError, match=r"laws must be \(Power\(length=0.05\),\), got \(\)"):
        Averages([torch.zeros(1)], (0.05,)).load_state_dict({"laws": (), "averages": []})
    for wrong in ({"decay": 1.0}, {"decay": -0.1}, {"decay": 0.9, "start": 0}):
        with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
            Constant(**wrong)
    for wrong in ({"updates": 0.0}, {"updates": 5.0, "rampup": 0.0}):
        with pytest.raises(ValueError, match="must be positive"):
            HalfLife(**wrong)
