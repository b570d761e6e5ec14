"""Non-inferiority: three outcomes, and how often each comes at a loss equal to the margin."""

import math

import numpy as np
import pytest
from scipy import stats

from rcm_bench.statistics import Clusters, compare
from rcm_bench.statistics.noninferiority import median_interval, outcome_of


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (-0.01, 0.019, "pass"),
        (0.005, 0.019, "pass"),  # worse for sure, and by less than the margin
        (0.021, 0.03, "fail"),
        (-0.01, 0.03, "inconclusive"),  # cannot be told from zero: that is no parity
        (0.01, 0.02, "inconclusive"),
        (0.02, 0.03, "inconclusive"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_three_outcomes(low, high, outcome):
    assert outcome_of(low, high, 0.02) == outcome


def geneval_pair(rng, n, loss, tasks=6, seeds=4, icc=0.6, correlation=0.8, accuracy=0.75):
    """Right answers of a reference and of a candidate that is worse by ``loss`` in every task.

    Prompt means are beta-distributed with the intra-prompt correlation ``icc``; a Gaussian copula
    ties the two models together.
    """
    size = tasks * n
    normal = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=size)
    uniform = stats.norm.cdf(normal)
    weight = 1 / icc - 1

    def draw(column, mean):
        prompt = stats.beta.ppf(column, mean * weight, (1 - mean) * weight)
        numerator = np.zeros((size, tasks))
        denominator = np.zeros((size, tasks))
        task = np.repeat(np.arange(tasks), n)
        numerator[np.arange(size), task] = rng.binomial(seeds, prompt)
        denominator[np.arange(size), task] = seeds
        return Clusters(numerator=numerator, denominator=denominator, strata=task)

    return draw(uniform[:, 0], accuracy - loss), draw(uniform[:, 1], accuracy)


def shares(loss, margin, runs, seed):
    """Share of simulated gates that pass and that fail."""
    rng = np.random.default_rng(seed)
    outcomes = []
    for _ in range(runs):
        student, reference = geneval_pair(rng, 40, loss)
        found = compare(student, reference, kind="proportion")
        outcomes.append(outcome_of(-found.difference_high, -found.difference_low, margin))
    return outcomes.count("pass") / runs, outcomes.count("fail") / runs


@pytest.mark.slow
def test_error_rates_at_the_margin():
    """At a loss equal to the margin each decision is wrong in about 2.5 % of runs."""
    runs = 2000
    passed, failed = shares(
        loss=0.05, margin=0.05, runs=runs, seed=np.random.SeedSequence().entropy
    )
    # 4 standard errors of the simulation, and what Wilson's interval may be off by (93 to 97 %).
    slack = 4 * math.sqrt(0.025 * 0.975 / runs) + 0.01
    assert abs(passed - 0.025) < slack and abs(failed - 0.025) < slack, (passed, failed)


def test_a_gate_decides_where_there_is_something_to_decide():
    passed, failed = shares(loss=0.0, margin=0.15, runs=40, seed=1)
    assert (passed, failed) == (1.0, 0.0)
    passed, failed = shares(loss=0.25, margin=0.05, runs=40, seed=2)
    assert (passed, failed) == (0.0, 1.0)


def test_error_rates_are_not_far_off_in_a_short_run():
    """Passing everything, or judging by the point estimate (50 %), would be seen at once."""
    passed, failed = shares(loss=0.05, margin=0.05, runs=150, seed=3)
    assert passed <= 0.08 and failed <= 0.08


def test_median_interval_by_hand():
    """Of 8 values P(median outside of all) = 2/256, outside of all but the ends 18/256."""
    values = np.array([5.0, 1.0, 8.0, 3.0, 2.0, 7.0, 6.0, 4.0])
    assert median_interval(values) == (1.0, 8.0)
    assert median_interval(values, level=0.92) == (2.0, 7.0)
    assert all(np.isnan(median_interval(values[:5])))  # 2/32 is more than 5 %
    assert median_interval(values[:6]) == (1.0, 8.0)
    assert all(np.isnan(median_interval([])))


def test_median_interval_covers():
    rng = np.random.default_rng()
    draws = rng.exponential(size=(3000, 12))
    ends = np.array([median_interval(row) for row in draws])
    truth = math.log(2)
    covered = float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean())
    exact = 1 - 2 * stats.binom.cdf(2, 12, 0.5)
    assert exact >= 0.95
    assert abs(covered - exact) < 5 * math.sqrt(exact * (1 - exact) / 3000)
