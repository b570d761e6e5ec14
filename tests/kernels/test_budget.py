"""The error budget: derived from the inputs, blind to nothing."""

import math

import pytest
import torch

from rcm_kernels.budget import compare, excess_over_rounding


def test_the_budget_is_twice_the_plain_error_and_one_rounding():
    truth = torch.tensor([1.0, -4.0], dtype=torch.float64)
    plain = torch.tensor([1.5, -4.0])
    got = torch.tensor([1.0, -3.0])
    eps = 2**-23
    maximum, frobenius = compare(got, [plain], truth)
    assert maximum == ("maximum", 1.0, 2 * (0.5 + eps * 4))
    norm = math.sqrt(17)
    assert frobenius.error == pytest.approx(1 / norm, rel=1e-15)
    assert frobenius.budget == pytest.approx(2 * (0.5 / norm + eps), rel=1e-15)
    assert maximum.passed and frobenius.passed is (2 * (0.5 + eps * norm) >= 1)


def test_of_several_plain_results_the_worst_counts():
    truth = torch.zeros(2, dtype=torch.float64) + 1
    good, bad = torch.tensor([1.0, 1.25]), torch.tensor([1.5, 1.0])
    assert compare(bad, [good, bad], truth)[0].budget == compare(bad, [bad], truth)[0].budget
    assert not compare(torch.tensor([1.0, 1.6]), [good], truth)[0].passed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rounding_the_truth_is_always_within(rng, dtype):
    truth = torch.randn(40, 30, generator=rng, dtype=torch.float64)
    assert all(c.passed for c in compare(truth.to(dtype), [truth.to(dtype)], truth))


def test_one_wrong_number_and_a_small_bias_are_both_seen(rng):
    truth = torch.randn(300, 100, generator=rng, dtype=torch.float64)
    plain = truth.float()
    spike = plain.clone()
    spike[7, 8] += 3e-6
    maximum, frobenius = compare(spike, [plain], truth)
    assert not maximum.passed and frobenius.passed
    maximum, frobenius = compare(plain + 4e-7, [plain], truth)
    assert maximum.passed and not frobenius.passed


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_never_passes(bad):
    truth = torch.ones(3, dtype=torch.float64)
    got = torch.tensor([1.0, bad, 1.0])
    for comparison in compare(got, [torch.ones(3)], truth):
        assert comparison.error == math.inf and not comparison.passed
    assert excess_over_rounding(got, truth) == math.inf


def test_a_truth_of_zeros_takes_absolute_errors():
    truth = torch.zeros(3, dtype=torch.float64)
    assert all(c.passed for c in compare(torch.zeros(3), [torch.zeros(3)], truth))
    assert not any(c.passed for c in compare(torch.full((3,), 1e-9), [torch.zeros(3)], truth))


def test_excess_is_what_the_arithmetic_adds(rng):
    truth = torch.randn(500, 100, generator=rng, dtype=torch.float64)
    assert excess_over_rounding(truth.bfloat16(), truth) == 0
    noise = 1e-3 * torch.randn(500, 100, generator=rng, dtype=torch.float64)
    expected = noise.norm() / truth.norm()
    found = excess_over_rounding((truth + noise).bfloat16(), truth)
    assert found == pytest.approx(float(expected), rel=0.1)


def test_messages():
    truth = torch.ones(3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^got must have shape \(3,\), got \(2,\)$"):
        compare(torch.ones(2), [torch.ones(3)], truth)
    with pytest.raises(ValueError, match=r"^plain must have shape \(3,\), got \(4,\)$"):
        compare(torch.ones(3), [torch.ones(4)], truth)
    with pytest.raises(ValueError, match=r"^the truth is not finite: the case has no answer$"):
        compare(torch.ones(3), [torch.ones(3)], truth / 0)
