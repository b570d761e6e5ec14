"""Differences of methods over prompts and training seeds: by hand, and by simulated coverage."""

import numpy as np
import pytest
from scipy import stats

from rcm_bench.statistics import Clusters
from rcm_bench.statistics.training_seeds import compare_methods
from rcm_bench.statistics_coverage.training_seeds import DESIGNS, simulate


def clusters(values, strata=None):
    values = np.asarray(values, dtype=np.float64)
    return Clusters(
        numerator=values[:, None],
        denominator=np.ones((len(values), 1)),
        strata=np.zeros(len(values), dtype=np.int64) if strata is None else strata,
    )


@pytest.fixture
def rng():
    return np.random.default_rng()


def test_with_one_checkpoint_each_it_is_the_paired_t_interval(rng):
    a, b = rng.normal(size=(2, 40))
    found = compare_methods([clusters(a)], [clusters(b)])
    low, high = stats.t.interval(0.95, 39, (a - b).mean(), stats.sem(a - b))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.scope == "new prompts, these checkpoints"
    assert np.isnan(found.seed_share)


def test_with_seeds_that_move_all_prompts_alike_it_is_welchs_interval_over_seeds(rng):
    """Prompts that all have one difference leave the seeds alone."""
    ease = rng.normal(size=30)
    first, second = rng.normal(size=3), rng.normal(size=4)
    found = compare_methods(
        [clusters(ease + shift) for shift in first], [clusters(ease + shift) for shift in second]
    )
    welch = stats.ttest_ind(first, second, equal_var=False)
    ends = welch.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=1e-6)
    assert found.p == pytest.approx(welch.pvalue, rel=1e-6)
    assert found.seed_share == pytest.approx(1.0)
    assert found.scope == "new prompts and new training seeds"


def test_the_variance_is_that_of_the_crossed_design(rng):
    """Mean squares of a two-way table by hand, against a teacher that is 0 everywhere."""
    n, k = 25, 3
    table = rng.normal(size=(k, n))
    found = compare_methods([clusters(row) for row in table], [clusters(np.zeros(n))], fixed=True)
    grand = table.mean()
    seeds = n * np.square(table.mean(1) - grand).sum() / (k - 1)
    prompts = k * np.square(table.mean(0) - grand).sum() / (n - 1)
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + grand
    error = np.square(rest).sum() / ((k - 1) * (n - 1))
    of_prompts = max(prompts - error, 0) / (k * n)
    total = seeds / (k * n) + of_prompts
    df = total**2 / ((seeds / (k * n)) ** 2 / (k - 1) + of_prompts**2 / (n - 1))
    half = stats.t.ppf(0.975, df) * total**0.5
    assert found.df == pytest.approx(df)
    assert (found.low, found.high) == pytest.approx((grand - half, grand + half))


def test_strata_are_prompts_of_their_own(rng):
    """What differs between strata adds no variance; a stratum of one prompt gives no interval."""
    strata = np.repeat(np.arange(2), 20)
    values = rng.normal(size=(3, 40))
    plain = compare_methods(
        [clusters(row, strata) for row in values], [clusters(np.zeros(40), strata)], fixed=True
    )
    apart = compare_methods(
        [clusters(row + 5 * strata, strata) for row in values],
        [clusters(np.zeros(40), strata)],
        fixed=True,
    )
    assert apart.high - apart.low == pytest.approx(plain.high - plain.low)
    lonely = np.r_[np.zeros(39, dtype=np.int64), 1]
    found = compare_methods([clusters(values[0], lonely)], [clusters(values[1], lonely)])
    assert np.isnan(found.low)
    assert found.scope.startswith("no interval")


def test_what_cannot_be_compared_is_refused(rng):
    one = clusters(rng.normal(size=20))
    few = compare_methods([clusters([1.0, 2.0])], [clusters([1.0, 3.0])])
    assert few.scope == "no interval: 2 prompts, at least 20 are needed"
    other = clusters(rng.normal(size=20))
    assert compare_methods([one, other], [one]).scope == "new prompts, these checkpoints"
    empty = Clusters(numerator=np.zeros((20, 1)), denominator=np.zeros((20, 1)), strata=one.strata)
    found = compare_methods([one], [empty])
    assert found.scope == "no interval: nothing is scored in a part of the number"
    with pytest.raises(ValueError, match="same prompts"):
        compare_methods([one], [clusters(np.zeros(21))])
    with pytest.raises(ValueError, match="one where it is fixed"):
        compare_methods([one], [one, one], fixed=True)
    same = compare_methods([one, one], [one, one])
    assert same.scope == "no interval: all prompts and seeds differ by the same amount"


@pytest.mark.parametrize("name", ["no difference between seeds", "seeds differ a lot"])
def test_simulated_coverage(name, rng):
    """At 250 trials five standard errors below 93 % are 85 %; the whole table is committed."""
    design = next(each for each in DESIGNS if each.name == name)
    held = np.array(list(simulate(design, 250, rng)))
    assert held[:, 0].mean() > 0.85
    if name == "seeds differ a lot":
        assert held[:, 1].mean() < 0.45, "an interval over prompts alone misses the seeds"
