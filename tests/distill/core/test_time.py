"""Round trips between the three parameterisations of time."""

import math

import pytest
import torch

from rcm_distill.time import (
    F_from_velocity,
    edm_from_trig,
    rf_from_trig,
    rf_velocity,
    trig,
    trig_from_edm,
    trig_from_rf,
)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_times_come_back(rand_t):
    t = torch.cat([rand_t(1000), torch.tensor([0.0], dtype=torch.float64)])
    close(trig_from_rf(rf_from_trig(t)), t)
    close(trig_from_edm(edm_from_trig(t)), t)
    sigma = edm_from_trig(t)
    close(rf_from_trig(t), sigma / (1 + sigma))


def test_ends_are_exact():
    ends = torch.tensor([0.0, math.pi / 2], dtype=torch.float64)
    close(rf_from_trig(ends), torch.tensor([0.0, 1.0], dtype=torch.float64))
    close(trig_from_rf(torch.tensor([0.0, 1.0], dtype=torch.float64)), ends)


def test_published_inference_times_have_the_published_rectified_flow_values():
    t = torch.tensor([math.atan(80), 1.5, 1.4, 1.0], dtype=torch.float64)
    expected = torch.tensor([0.9877, 0.9338, 0.8529, 0.6090], dtype=torch.float64)
    torch.testing.assert_close(rf_from_trig(t), expected, rtol=0, atol=5e-5)


def test_velocities_come_back_and_match_the_path(randn, rand_t):
    x0, eps, t = randn(64, 2, 3), randn(64, 2, 3), rand_t(64, low=0.0)
    t[0], t[1] = 0.0, math.pi / 2
    cos_t, sin_t = trig(t, like=x0)
    x_t, F = cos_t * x0 + sin_t * eps, cos_t * eps - sin_t * x0
    close(rf_velocity(F, x_t, t), eps - x0)
    close(F_from_velocity(eps - x0, x_t, t), F)


def test_time_must_be_one_per_sample(randn):
    with pytest.raises(ValueError, match=r"t must have shape \(8,\), got \(8, 1\)"):
        trig(torch.zeros(8, 1), like=randn(8, 3))


def test_low_precision_samples_get_float32_times():
    assert (
        trig(torch.zeros(2), like=torch.zeros(2, 3, dtype=torch.bfloat16)).cos.dtype
        == torch.float32
    )
