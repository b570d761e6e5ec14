"""Single numbers: hand-computed standard errors, Wilson's interval, and what has no interval."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rcm_bench.statistics import Clusters, estimate, influence, value_of, wilson
from rcm_bench.statistics.intervals import raw_estimate


def clusters(means, strata=None, seeds=4, within=None):
    """One prompt for each mean; components are the strata."""
    means = np.asarray(means, dtype=float)
    strata = np.zeros(len(means), dtype=np.int64) if strata is None else np.asarray(strata)
    own = (strata[:, None] == np.unique(strata)) * 1.0
    spread = None if within is None else own * np.asarray(within)[:, None]
    return Clusters(
        numerator=own * (means * seeds)[:, None],
        denominator=own * seeds,
        strata=strata,
        within=spread,
    )


def test_one_stratum_is_students_t_on_prompt_means() -> None:
    means = [1.0, 0.75, 0.5, 1.0, 0.25] * 4
    found = estimate(clusters(means))
    se = np.std(means, ddof=1) / math.sqrt(20)
    assert found.value == pytest.approx(0.7, rel=1e-12)
    assert found.se == pytest.approx(se, rel=1e-12)
    assert found.high == pytest.approx(0.7 + stats.t.ppf(0.975, 19) * se, rel=1e-12)


def test_two_strata_are_averaged_with_satterthwaite() -> None:
    a, b = [1.0, 0.75, 0.5, 1.0, 0.25] * 2, [0.0, 0.5, 0.25, 0.25, 0.0, 1.0] * 2
    found = estimate(clusters(a + b, [0] * 10 + [1] * 12))
    va, vb = np.var(a, ddof=1) / 10, np.var(b, ddof=1) / 12
    se = math.sqrt(va + vb) / 2
    df = (va + vb) ** 2 / (va**2 / 9 + vb**2 / 11)
    assert found.value == pytest.approx((np.mean(a) + np.mean(b)) / 2, rel=1e-12)
    assert found.se == pytest.approx(se, rel=1e-12)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, df) * se, rel=1e-12)


def test_random_denominators_are_linearised() -> None:
    top, bottom = np.tile([3.0, 1, 2, 2, 0], 4), np.tile([4.0, 2, 4, 3, 1], 4)
    table = Clusters(
        numerator=top[:, None], denominator=bottom[:, None], strata=np.zeros(20, dtype=np.int64)
    )
    ratio = 8 / 14
    residual = top - ratio * bottom
    assert value_of(table) == pytest.approx(ratio, rel=1e-12)
    np.testing.assert_allclose(influence(table), residual / 56, rtol=1e-12)
    assert estimate(table).se == pytest.approx(
        math.sqrt(20 / 19 * (residual**2).sum()) / 56, rel=1e-12
    )


def test_components_of_the_same_prompts_are_not_taken_for_independent() -> None:
    """Two equal components say no more than one: the error must not shrink."""
    column = np.tile([3.0, 1, 2, 4, 0], 4)[:, None]
    whole = np.full((20, 1), 4.0)
    one = Clusters(numerator=column, denominator=whole, strata=np.zeros(20, dtype=np.int64))
    two = Clusters(
        numerator=np.hstack([column, column]),
        denominator=np.hstack([whole, whole]),
        strata=np.zeros(20, dtype=np.int64),
    )
    assert estimate(two).se == pytest.approx(estimate(one).se, rel=1e-12)


def test_same_prompts_use_the_variance_over_seeds_only() -> None:
    # 4 seeds a prompt; variance of the sum is 4 s^2 with s^2 of (1,1,1,0), (1,0,0,0), (1,1,0,0).
    within = [4 * 0.25, 4 * 0.25, 4 / 3]
    found = estimate(clusters([0.75, 0.25, 0.5], within=within), population="same prompts")
    assert found.se == pytest.approx(math.sqrt(sum(within)) / 12, rel=1e-12)
    assert "over seeds within prompts" in found.method


def test_wilson_matches_hand_values() -> None:
    """9 of 10 at 95 %: 0.5958 to 0.9821."""
    low, high = wilson(0.9, 10, 1.959964)
    assert (round(low, 4), round(high, 4)) == (0.5958, 0.9821)
    assert wilson(1.0, 10, 1.959964)[1] == 1.0


def test_a_perfect_score_keeps_a_width() -> None:
    """All of 20 prompts x 4 right: the prior's effective number of 20 K / (1 + 3 x 0.35)."""
    found = estimate(clusters([1.0] * 20), kind="proportion")
    q, n = stats.t.ppf(0.975, 19), 80 / (1 + 3 * 0.35)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(n / (n + q * q), rel=1e-12)
    assert found.se > 0


def test_wilson_with_few_telling_prompts_by_hand() -> None:
    """18 prompts all right, 2 half right: the design effect is blended with the prior's."""
    means = np.array([1.0] * 18 + [0.5] * 2)
    found = estimate(clusters(means), kind="proportion")
    single = 0.95 * 0.05 / 20
    observed = np.var(means, ddof=1) / 20 / single
    effect = (2 * observed + 2 * (1 + 3 * 0.35) / 4) / 4
    low, high = wilson(0.95, 20 / effect, float(stats.t.ppf(0.975, 19)))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    assert found.se == pytest.approx(math.sqrt(observed * single), rel=1e-12)


def test_a_task_at_the_ceiling_adds_no_error_of_its_own() -> None:
    """Stratification counts: the design effect is against the tasks' own binomial variances."""
    half = np.array([1.0, 0.0] * 10)
    found = estimate(clusters([*[1.0] * 20, *half], [0] * 20 + [1] * 20), kind="proportion")
    single = 0.25 / 20 / 4
    observed = np.var(half, ddof=1) / 20 / 4
    effect = (10 * observed / single + 2 * (1 + 3 * 0.35) / 4) / 12
    number = 0.75 * 0.25 / (effect * single)
    expected = wilson(0.75, number, float(stats.t.ppf(0.975, 38)))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12)


def test_far_from_the_ends_wilson_is_the_clustered_interval() -> None:
    seed = np.random.SeedSequence().entropy
    print("seed", seed)
    means = np.random.default_rng(seed).integers(0, 5, 2000) / 4
    table = clusters(means)
    ours, plain = estimate(table, kind="proportion"), raw_estimate(table, "mean", "new prompts")
    assert ours.se == pytest.approx(plain.se, rel=1e-12)
    assert ours.low == pytest.approx(plain.low, abs=0.05 * plain.se)
    assert ours.high == pytest.approx(plain.high, abs=0.05 * plain.se)


def test_without_prompts_or_variation_there_is_no_interval() -> None:
    few = estimate(clusters([1.0, 0.5, 0.0, 0.5] * 4))
    assert math.isnan(few.low)
    assert few.value == pytest.approx(0.5)
    assert few.method == "no interval: 16 prompts, at least 20 are needed"
    thin = estimate(clusters([1.0, 0.5] * 11, [0] * 20 + [1] * 2))
    assert thin.method == "no interval: 2 prompts in a stratum, at least 3 are needed"
    constant = estimate(clusters([0.5] * 20))
    assert math.isnan(constant.se)
    assert constant.method == "no interval: all prompts gave the same value"
    lone = estimate(clusters([0.5] * 5, within=[np.nan] * 5), population="same prompts")
    assert lone.method.startswith("no interval: a prompt has fewer scored samples")


def test_an_empty_component_has_no_total() -> None:
    table = Clusters(
        numerator=np.array([[1.0, 0.0]] * 6),
        denominator=np.array([[4.0, 0.0]] * 6),
        strata=np.zeros(6, dtype=np.int64),
    )
    assert math.isnan(estimate(table).value)
    assert estimate(table).method.startswith("no interval: nothing was scored")


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"denominator must have numerator's shape"):
        Clusters(numerator=np.zeros((3, 1)), denominator=np.zeros((2, 1)), strata=np.zeros(3, int))
    with pytest.raises(ValueError, match="finite"):
        Clusters(
            numerator=np.full((3, 1), np.nan), denominator=np.ones((3, 1)), strata=np.zeros(3, int)
        )


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 60))
def test_proportions_stay_inside_0_and_1_and_mirror(seed, n) -> None:
    """Right and wrong exchanged: the interval is turned round."""
    means = np.random.default_rng(seed).integers(0, 5, n) / 4
    one = estimate(clusters(means), kind="proportion")
    two = estimate(clusters(1 - means), kind="proportion")
    assert 0 <= one.low <= one.value <= one.high <= 1
    assert one.low < one.high
    assert (one.low, one.high) == pytest.approx((1 - two.high, 1 - two.low), abs=1e-9)
