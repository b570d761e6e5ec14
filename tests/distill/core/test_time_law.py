"""Distributions of training times against what their formulas say."""

import math

import pytest
import torch

from rcm_distill.objectives.time_law import LogitNormal, LogNormal, Mixture, UniformShift
from rcm_distill.time import rf_from_trig

LAWS = [
    LogNormal(P_mean=-0.8, P_std=1.6),
    UniformShift(shift=5.0),
    LogitNormal(mean=1.4, std=1.3),
    Mixture(weights=(1.0, 3.0), laws=(LogitNormal(mean=-2.0), UniformShift(shift=3.0))),
]
N = 20_000


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_times_are_angles_and_repeatable(rng, law):
    state = rng.get_state()
    t = law.sample(N, rng, "cpu")
    assert t.shape == (N,)
    assert t.dtype == torch.float32
    assert t.min() >= 0
    assert t.max() <= math.pi / 2 + 1e-6
    rng.set_state(state)
    assert torch.equal(t, law.sample(N, rng, "cpu"))


def test_quantiles_follow_the_formulas(rng):
    """The median, found to five standard errors in probability."""
    tolerance = 5 * 0.5 / math.sqrt(N)
    cases = [
        (LAWS[0], lambda t: torch.tan(t), math.exp(-0.8)),
        (LogNormal(P_mean=-0.8, P_std=1.6, num_frames=21), torch.tan, math.exp(-0.8) * 21**0.5),
        (LAWS[1], rf_from_trig, 2.5 / 3),
        (LAWS[2], rf_from_trig, 1 / (1 + math.exp(-1.4))),
        (UniformShift(low=0.02, high=0.98), rf_from_trig, 0.5),
    ]
    for law, change, median in cases:
        below = (change(law.sample(N, rng, "cpu").double()) < median).double().mean().item()
        assert below == pytest.approx(0.5, abs=tolerance), law


def test_mixture_takes_its_shares(rng):
    law = Mixture(
        weights=(1.0, 2.0, 5.0),
        laws=(UniformShift(high=0.1), UniformShift(low=0.4, high=0.5), UniformShift(low=0.9)),
    )
    u = rf_from_trig(law.sample(N, rng, "cpu"))
    shares = [((u >= a) & (u <= b)).double().mean().item() for a, b in ((0, 0.1), (0.4, 0.5))]
    assert shares == pytest.approx([1 / 8, 2 / 8], abs=5 * 0.5 / math.sqrt(N))


def test_messages():
    with pytest.raises(ValueError, match="expected one weight per law, got 1 for 2"):
        Mixture(weights=(1.0,), laws=(LogitNormal(), LogitNormal()))
    with pytest.raises(ValueError, match="weights must be positive"):
        Mixture(weights=(1.0, 0.0), laws=(LogitNormal(), LogitNormal()))
    with pytest.raises(ValueError, match="expected shift > 0"):
        UniformShift(shift=0.0)
    with pytest.raises(ValueError, match="P_std must be >= 0"):
        LogNormal(P_mean=0.0, P_std=-1.0)
    with pytest.raises(ValueError, match="std must be >= 0, got -1"):
        LogitNormal(std=-1.0)
