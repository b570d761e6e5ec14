"""Bounds of what new seeds can do: no law on [0, 1] exceeds them, and one reaches them."""

import random

import numpy as np
import pytest
from scipy import special

from rcm_bench.statistics.reproduction import largest_difference, seed_variance, total_variance
from rcm_bench.statistics.vbench_dimensions import DIMENSIONS, GROUPS, NAMES, totals


@pytest.fixture
def rng():
    seed = random.randrange(2**31)
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def test_no_law_of_scores_varies_more(rng):
    """Any law of any prompts, exactly: the mean of n K independent videos."""
    for _ in range(200):
        prompts, videos = rng.integers(1, 9), rng.integers(1, 6)
        values = rng.random((prompts, 4))
        chances = rng.dirichlet(np.full(4, 0.3), prompts)
        means = (values * chances).sum(1)
        spread = ((values - means[:, None]) ** 2 * chances).sum(1)
        exact = spread.sum() / (prompts**2 * videos)
        assert exact <= seed_variance(means.mean(), prompts, videos) * (1 + 1e-12)
    assert seed_variance(0.25, 72, 5) == pytest.approx(0.25 * 0.75 / 360, rel=1e-12)  # 0 or 1
    with pytest.raises(ValueError, match=r"expected a mean in \[0, 1\], got 83.02"):
        seed_variance(83.02, 72, 5)


def test_two_runs_differ_by_both_of_their_errors():
    z = special.ndtri(0.975)
    assert largest_difference(0.01) == pytest.approx(z * np.sqrt(0.02), rel=1e-12)


def grouped(means):
    """Covariance of one run's raw dimensions at its worst: those of a group vary as one."""
    covariance = np.zeros((16, 16))
    for prompts, names in GROUPS:
        at = [NAMES.index(name) for name in names]
        spread = np.sqrt(means[at] * (1 - means[at]) / (prompts * 5))
        covariance[np.ix_(at, at)] = np.outer(spread, spread)
    return covariance


@pytest.mark.parametrize("name", ["total", "quality", "semantic"])
def test_no_dimensions_with_the_printed_totals_vary_more(name, rng):
    slope = np.array([totals(row)[name] for row in np.eye(16)]) - totals(np.zeros(16))[name]
    for _ in range(60):
        means = rng.beta(*rng.choice([(0.3, 0.3), (1, 1), (8, 2)]), 16)
        printed = totals(means)
        covariance = grouped(means)
        errors = np.abs(slope) * np.sqrt(np.diag(covariance))
        exact = {
            "independent": (errors**2).sum(),
            "grouped": slope @ covariance @ slope,
            "alike": errors.sum() ** 2,
        }
        for together, variance in exact.items():
            bound = total_variance(name, printed["quality"], printed["semantic"], 5, together)
            assert variance <= bound * (1 + 1e-9), together


def test_a_maximum_is_where_no_neighbour_varies_more(rng):
    """With independent dimensions the bound is reached: found again by a general solver."""
    from scipy import optimize

    slope = np.array([totals(row)["total"] for row in np.eye(16)]) - totals(np.zeros(16))["total"]
    weights = slope**2 / np.array([5 * next(n for n, own in GROUPS if d in own) for d in NAMES])
    parts = [{"type": "eq", "fun": lambda m, p=p, v=v: totals(m)[p] - v}
             for p, v in (("quality", 0.8395), ("semantic", 0.7926))]  # fmt: skip
    start = [0.9 if d.part == "quality" else 0.5 for d in DIMENSIONS.values()]
    found = optimize.minimize(
        lambda m: -1e4 * (weights * m * (1 - m)).sum(), start, bounds=[(0, 1)] * 16,
        constraints=parts, options={"ftol": 1e-13, "maxiter": 500},
    )  # fmt: skip
    assert found.success
    bound = total_variance("total", 0.8395, 0.7926, 5, "independent")
    assert -found.fun / 1e4 == pytest.approx(bound, rel=1e-5)


def test_alike_videos_count_as_one_and_impossible_totals_are_refused():
    one, five = (total_variance("total", 0.84, 0.79, k) for k in (1, 5))
    assert one == pytest.approx(5 * five, rel=1e-9)
    assert total_variance("quality", 0.84, 0.79, 5) == total_variance("quality", 0.84, 0.1, 5)
    with pytest.raises(ValueError, match="no dimensions give a value of 83.02"):
        total_variance("total", 83.02, 0.79, 5)
