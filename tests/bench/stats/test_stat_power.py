"""Sample sizes: the formula by hand, variances from a pilot, and the power that comes of it."""

import math

import numpy as np
import pytest

from rcm_bench.statistics import Clusters, compare
from rcm_bench.statistics.noninferiority import outcome_of
from rcm_bench.statistics.power import Variances, detectable, measured, num_prompts, planned

# (1.959964 + 0.841621)^2
FACTOR = 7.848880


def test_formula_by_hand():
    variances = Variances(between=0.04, within=0.12, at=1, total=0.16)
    assert variances.of(4) == pytest.approx(0.07)
    assert num_prompts(variances, 4, 0.05, 0.8) == math.ceil(FACTOR * 0.07 / 0.0025) == 220
    assert detectable(variances, 220, 4, 0.8) == pytest.approx(math.sqrt(FACTOR * 0.07 / 220))
    assert detectable(variances, 220, 4, 0.8) <= 0.05 < detectable(variances, 219, 4, 0.8)


def test_planning_values_by_hand():
    """Accuracy 0.8: variance 0.16, 0.6 of it between prompts, of which two models share 0.8."""
    found = planned(accuracy=0.8, icc=0.6, correlation=0.8)
    assert found.between == pytest.approx(2 * 0.096 * 0.2)
    assert found.within == pytest.approx(2 * 0.064)
    assert found.total == found.of(1) == pytest.approx(found.between + found.within)
    # GenEval's 553 prompts with 4 images each: about 3 points, as large as most claims.
    assert detectable(found, 553, 4, 0.8) == pytest.approx(0.0316, abs=5e-5)


def test_seeds_cannot_replace_prompts():
    found = planned(accuracy=0.8, icc=0.6, correlation=0.8)
    needed = [num_prompts(found, k, 0.02, 0.8) for k in (1, 4, 16, 10**6)]
    assert needed == sorted(needed, reverse=True)
    assert needed[-1] == math.ceil(FACTOR * found.between / 0.0004 * (1 + 1e-5))


def model_pair(rng, n, seeds, between, within, shared=1.0):
    """Two models with n prompts and K seeds; w^2 = 2 between, s^2 = within each."""
    common = rng.normal(0, shared, n)

    def one():
        prompt = common + rng.normal(0, math.sqrt(between), n)
        values = prompt[:, None] + rng.normal(0, math.sqrt(within), (n, seeds))
        return Clusters(
            numerator=values.sum(1, keepdims=True),
            denominator=np.full((n, 1), float(seeds)),
            strata=np.zeros(n, dtype=np.int64),
            within=seeds * values.var(1, ddof=1, keepdims=True) if seeds > 1 else None,
        )

    return one(), one()


def test_a_pilot_gives_its_variances_back():
    rng = np.random.default_rng()
    found = measured(*model_pair(rng, 20_000, 3, between=0.5, within=0.8), num_seeds=3)
    assert found.at == 3
    assert found.between == pytest.approx(1.0, rel=0.08)
    assert found.within == pytest.approx(1.6, rel=0.05)
    assert found.of(3) == found.total == pytest.approx(1.0 + 1.6 / 3, rel=0.05)


def test_a_pilot_of_pairs_of_seeds_knows_its_own_design_only():
    a, b = model_pair(np.random.default_rng(1), 30, 3, between=0.5, within=0.8)
    blind = [Clusters(numerator=c.numerator, denominator=c.denominator, strata=c.strata,
                      within=np.full_like(c.numerator, np.nan)) for c in (a, b)]  # fmt: skip
    found = measured(*blind, num_seeds=3)
    assert math.isnan(found.of(4)) and num_prompts(found, 4, 0.1, 0.8) is None
    assert found.of(3) == pytest.approx(measured(a, b, num_seeds=3).of(3))


def test_a_stratum_of_one_prompt_gives_no_variance():
    a, b = model_pair(np.random.default_rng(1), 1, 3, between=0.5, within=0.8)
    assert math.isnan(measured(a, b, num_seeds=3).total)


@pytest.mark.parametrize(("seeds", "margin"), [(1, 0.4), (4, 0.25)])
def test_the_planned_size_has_the_planned_power(seeds, margin):
    """A candidate as good as its reference passes the gate with power 0.8."""
    variances = Variances(between=0.6, within=1.6, at=1, total=2.2)
    n = num_prompts(variances, seeds, margin, 0.8)
    assert n is not None and n > 80
    rng, runs, passed = np.random.default_rng(), 1500, 0
    for _ in range(runs):
        a, b = model_pair(rng, n, seeds, between=0.3, within=0.8)
        d = (a.numerator / a.denominator - b.numerator / b.denominator)[:, 0]
        # The paired t interval, which `compare` gives for means; see the test below.
        half = 1.9600 * d.std(ddof=1) / math.sqrt(n)
        passed += outcome_of(-d.mean() - half, -d.mean() + half, margin) == "pass"
    assert abs(passed / runs - 0.8) < 4 * math.sqrt(0.16 / runs) + 0.01, passed / runs


def test_the_shortcut_above_is_what_compare_gives():
    a, b = model_pair(np.random.default_rng(5), 500, 4, between=0.3, within=0.8)
    found = compare(a, b, kind="mean")
    d = (a.numerator / a.denominator - b.numerator / b.denominator)[:, 0]
    half = 1.9647 * d.std(ddof=1) / math.sqrt(500)  # Student's t, df 499
    assert found.difference_low == pytest.approx(d.mean() - half, rel=1e-3)
    assert found.difference_high == pytest.approx(d.mean() + half, rel=1e-3)
