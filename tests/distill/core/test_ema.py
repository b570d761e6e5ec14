"""Power-function averages: exponents, weights, resumption."""

import pytest
import torch

from rcm_distill.ema import PowerEMA, gamma_from_length


@pytest.mark.parametrize(("length", "gamma"), [(0.10, 6.937), (0.05, 16.972), (0.01, 96.995)])
def test_published_exponents(length, gamma):
    assert gamma_from_length(length) == pytest.approx(gamma, abs=1e-3)


def test_average_is_the_power_weighted_mean(randn):
    parameter, values = torch.zeros(4, dtype=torch.float64), randn(200, 4)
    ema = PowerEMA([parameter], (0.05, 0.10))
    for step, value in enumerate(values, start=1):
        parameter.copy_(value)
        ema.update(step)
    for gamma, (average,) in zip(ema.gammas, ema.averages, strict=True):
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


def test_first_update_copies_and_state_comes_back(randn):
    parameter = randn(3)
    ema = PowerEMA([parameter], (0.05,))
    parameter.add_(1)
    ema.update(1)
    torch.testing.assert_close(ema.averages[0][0], parameter, rtol=0, atol=0)
    other = PowerEMA([randn(3)], (0.05,))
    other.load_state_dict(ema.state_dict())
    torch.testing.assert_close(other.averages, ema.averages, rtol=0, atol=0)


def test_messages():
    with pytest.raises(ValueError, match=r"length must be in \(0, 0.28\), got 0.5"):
        gamma_from_length(0.5)
    with pytest.raises(ValueError, match="from 1, got 0"):
        PowerEMA([torch.zeros(1)], (0.05,)).update(0)
    with pytest.raises(ValueError, match=r"lengths must be \(0.05,\), got \(0.1,\)"):
        PowerEMA([torch.zeros(1)], (0.05,)).load_state_dict({"lengths": (0.1,), "averages": []})
