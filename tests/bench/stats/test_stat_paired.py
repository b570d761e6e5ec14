"""Student against teacher: differences, ratios, the sign-flip test, Holm, the bootstrap."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rcm_bench.statistics import (
    Clusters,
    Estimate,
    can_pass,
    cluster_bootstrap,
    compare,
    holm,
    least_p,
    mover_ratio,
    sign_flip_p,
)
from rcm_bench.statistics.paired import contributions
from rcm_bench.statistics.sign_flip import EXACT_UP_TO


@pytest.fixture
def rng() -> np.random.Generator:
    seed = np.random.SeedSequence().entropy
    print("seed", seed)
    return np.random.default_rng(seed)


def clusters(means, strata=None):
    means = np.asarray(means, dtype=float)
    strata = np.zeros(len(means), dtype=np.int64) if strata is None else np.asarray(strata)
    own = (strata[:, None] == np.unique(strata)) * 1.0
    return Clusters(numerator=own * 4 * means[:, None], denominator=own * 4, strata=strata)


def test_means_give_the_paired_t_interval(rng) -> None:
    teacher = rng.normal(30, 2, 20)
    student = teacher + rng.normal(-1, 1, 20)
    found = compare(clusters(student), clusters(teacher))
    expected = stats.ttest_rel(student, teacher).confidence_interval(0.95)
    assert found.difference == pytest.approx((student - teacher).mean(), rel=1e-9)
    assert (found.difference_low, found.difference_high) == pytest.approx(expected, rel=1e-9)


def test_ratio_of_means_is_fiellers(rng) -> None:
    """R is inside exactly where the paired t interval of student - R teacher holds 0."""
    teacher = rng.normal(1.0, 0.2, 20)
    student = 0.8 * teacher + rng.normal(0, 0.1, 20)
    found = compare(clusters(student), clusters(teacher))
    for end in (found.ratio_low, found.ratio_high):
        rest = student - end * teacher
        t = rest.mean() / (rest.std(ddof=1) / math.sqrt(20))
        assert abs(t) == pytest.approx(stats.t.ppf(0.975, 19), rel=1e-9)
    assert found.ratio_low < found.ratio < found.ratio_high


def test_ratio_of_an_exact_reference_scales_the_interval() -> None:
    a = Estimate(value=0.8, se=0.05, low=0.7, high=0.85, method="")
    b = Estimate(value=0.5, se=0.0, low=0.5, high=0.5, method="")
    assert mover_ratio(a, b, 0.0) == pytest.approx((1.4, 1.7), rel=1e-12)
    zero = Estimate(value=0.1, se=0.1, low=-0.1, high=0.3, method="")
    assert all(map(math.isnan, mover_ratio(a, zero, 0.0)))


def test_equal_models_at_the_ceiling_are_tied_with_a_width() -> None:
    perfect = clusters([1.0] * 20)
    found = compare(perfect, perfect, kind="proportion")
    assert found.difference == 0.0
    assert found.difference_low < -0.04 < 0.04 < found.difference_high
    assert found.p == 1.0
    assert found.ratio_low < 0.96 < found.ratio_high


def test_constant_differences_of_means_have_no_interval() -> None:
    table = clusters([1.0, 2.0, 3.0, 4.0, 5.0] * 4)
    found = compare(table, table)
    assert math.isnan(found.difference_low)
    assert found.method == "no interval: all prompts differ by the same amount"


def test_ratio_is_left_out_where_it_means_nothing() -> None:
    found = compare(clusters([30, 31, 29, 28, 30.0]), clusters([31, 33, 30, 28, 30.5]), ratio=False)
    assert math.isnan(found.ratio)
    assert math.isnan(found.ratio_low)


def test_other_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="same prompts"):
        compare(clusters([1.0] * 6), clusters([1.0] * 6, [0, 0, 0, 1, 1, 1]))


def test_contributions_sum_to_the_difference(rng) -> None:
    strata = np.repeat([0, 1], 6)
    own = (strata[:, None] == [0, 1]) * 1.0
    a, b = (
        Clusters(
            numerator=own * rng.random((12, 1)),
            denominator=own * rng.integers(1, 5, (12, 1)),
            strata=strata,
        )
        for _ in range(2)
    )
    assert contributions(a, b).sum() == pytest.approx(compare(a, b).difference, rel=1e-12)


def test_sign_flip_equals_enumeration(rng) -> None:
    for n in (1, 3, 7, 10):
        d = rng.integers(-4, 5, n) / 4
        flips = np.array(list(itertools.product([-1, 1], repeat=n)))
        sums, observed = np.abs(flips @ d), abs(d.sum())
        expected = ((sums > observed + 1e-9).mean() + (sums >= observed - 1e-9).mean()) / 2
        assert sign_flip_p(d) == pytest.approx(expected if d.any() else 1.0, abs=1e-12)


def test_sign_flip_by_hand() -> None:
    """1, 1, -2: of eight sums two are 4 in size, four are 2 and two are 0."""
    assert sign_flip_p([1.0, 1.0, -2.0]) == (1 + 6 / 8) / 2
    assert sign_flip_p([1.0, 1.0, 2.0]) == (0 + 2 / 8) / 2


def test_sign_flip_monte_carlo_is_near_the_exact_value(rng) -> None:
    d = rng.normal(0.3, 1, EXACT_UP_TO + 3)
    flips = np.array([-1.0, 1.0])
    sums = np.zeros(1)
    for value in d:
        sums = np.add.outer(sums, flips * value).ravel()
    exact = (np.abs(sums) >= abs(d.sum()) - 1e-12).mean()
    assert sign_flip_p(d) == pytest.approx(exact, abs=5 * math.sqrt(0.25 / 20_000))
    assert sign_flip_p(d) == sign_flip_p(d[::-1])


def test_sign_flip_ignores_prompts_that_do_not_differ() -> None:
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert sign_flip_p([0.25] * 6 + [0.0] * 100) == 1 / 2**6


@pytest.mark.parametrize("n", [1, 5, EXACT_UP_TO, EXACT_UP_TO + 4, 60])
def test_the_least_p_is_attained_when_all_prompts_agree(n, rng) -> None:
    assert sign_flip_p(rng.uniform(0.1, 1, n)) == least_p(n)


def test_what_cannot_pass_leaves_the_family() -> None:
    """Ten tests of 8 prompts: 1/256 passes among 10 (0.039) but not among 21 (0.082)."""
    eight, twenty = least_p(8), least_p(20)
    assert can_pass([eight] * 10).all()
    assert not can_pass([eight] * 21).any()
    # Among 24 the three tests of 20 prompts pass, and are a family of 3 without the others.
    assert can_pass([eight] * 21 + [twenty] * 3).tolist() == [False] * 21 + [True] * 3
    assert can_pass([float("nan"), twenty]).tolist() == [False, True]


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=30))
def test_what_can_pass_passes_holm_and_the_rest_could_not(prompts) -> None:
    least = np.array([least_p(n) for n in prompts])
    able = can_pass(least)
    assert (holm(np.where(able, least, np.nan))[able] < 0.05 + 1e-12).all()
    # Whatever is left out could not have passed in the whole family.
    assert (least[~able] > 0.05 / len(prompts)).all()


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.02]), [0.02, np.nan, 0.02])


def test_bootstrap_has_the_clustered_standard_error(rng) -> None:
    strata = np.repeat([0, 1], [5, 9])
    means = rng.random(14)
    draws = cluster_bootstrap([clusters(means, strata)], num_replicates=20_000)[0]
    parts = [means[strata == s].var(ddof=1) / (strata == s).sum() for s in (0, 1)]
    assert draws.std() == pytest.approx(math.sqrt(sum(parts)) / 2, rel=0.03)


def test_bootstrap_pairs_its_tables_and_repeats_itself(rng) -> None:
    table = clusters(rng.random(8))
    shifted = Clusters(
        numerator=table.numerator + 0.4, denominator=table.denominator, strata=table.strata
    )
    a, b = cluster_bootstrap([table, shifted])
    np.testing.assert_allclose(b - a, 0.1, rtol=1e-12)
    np.testing.assert_array_equal(cluster_bootstrap([table])[0], a)


def test_detectable_by_hand() -> None:
    """20 differences with standard error s: (t_0.975 + t_0.8) s with 19 degrees of freedom."""
    teacher = np.arange(20.0)
    student = teacher + np.tile([0.0, 1.0], 10)
    found = compare(clusters(student), clusters(teacher))
    se = np.std([0.0, 1.0] * 10, ddof=1) / math.sqrt(20)
    expected = (stats.t.ppf(0.975, 19) + stats.t.ppf(0.8, 19)) * se
    assert found.detectable == pytest.approx(expected, rel=1e-9)


def test_a_true_difference_of_the_detectable_size_is_found_4_times_in_5(rng) -> None:
    """Fresh normal differences whose standard error is known."""
    sd, n, runs = 1.0, 30, 600
    size = (stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)) * sd / math.sqrt(n)
    found = sum(sign_flip_p(rng.normal(size, sd, n)) <= 0.05 for _ in range(runs))
    assert found / runs == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / runs))


def test_the_test_is_there_where_the_interval_is_not() -> None:
    few = compare(clusters([1.0] * 8), clusters([0.0] * 8), kind="proportion")
    assert few.method == "no interval: 8 prompts, at least 20 are needed"
    assert (few.p, few.p_least) == (1 / 2**8, 1 / 2**8)
    assert math.isnan(few.difference_low) and math.isnan(few.detectable)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(20, 40))
def test_swapping_the_models_turns_the_comparison_round(seed, n) -> None:
    rng = np.random.default_rng(seed)
    a, b = (clusters(rng.integers(0, 5, n) / 4) for _ in range(2))
    one, two = (compare(x, y, kind="proportion") for x, y in ((a, b), (b, a)))
    assert one.difference == pytest.approx(-two.difference, abs=1e-12)
    assert one.difference_low == pytest.approx(-two.difference_high, abs=1e-9)
    assert one.p == two.p
    assert one.difference_low <= one.difference <= one.difference_high
