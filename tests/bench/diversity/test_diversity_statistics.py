"""Golden cases by hand, properties, and parity with the packages vendi-score and prdc."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcm_bench.statistics.coverage import expected_coverage, prdc, radii
from rcm_bench.statistics.diversity import (
    cosine_distances,
    pair_sum,
    squared_distances,
    vendi,
    vendi_within,
)


def fresh(rows, columns, seed=None):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def test_distances_by_hand():
    features = np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    np.testing.assert_allclose(cosine_distances(features), [[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    np.testing.assert_allclose(squared_distances(features), [[0, 13, 9], [13, 0, 10], [9, 10, 0]])


def test_pair_sum_by_hand():
    found = pair_sum(np.array([[0, 1, 2], [1, 0, 1], [2, 1, 0.0]]))
    assert (found.total, found.pairs) == (4, 3)
    # Without each sample one pair is left: 1, 2, 1. Mean 4/3, squares sum to 2/3.
    assert found.within == pytest.approx(9 * (2 / 3) * (2 / 3))
    assert np.isnan(pair_sum(np.array([[0, 1.0], [1, 0]])).within)
    assert pair_sum(np.zeros((1, 1)))[:2] == (0, 0)


def test_pair_sum_within_is_the_laboratorys_jackknife():
    from rcm_bench.benchmarks.diversity import jackknife

    distances = squared_distances(fresh(6, 3))
    pairs = {(i, j): distances[i, j] for i, j in itertools.combinations(range(6), 2)}
    assert pair_sum(distances).within == pytest.approx(jackknife(pairs))


def test_vendi_by_hand():
    assert vendi(np.eye(4)) == pytest.approx(4)
    assert vendi(np.ones((5, 3))) == pytest.approx(1)
    assert vendi(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])) == pytest.approx(2)
    # Two at 60 degrees: eigenvalues of K / 2 are 3/4 and 1/4.
    slanted = np.array([[1, 0], [0.5, np.sqrt(3) / 2]])
    assert vendi(slanted) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 2**31))
def test_vendi_properties(rows, columns, seed):
    features = fresh(rows, columns, seed)
    found = vendi(features)
    assert 1 - 1e-9 <= found <= min(rows, columns) + 1e-9
    order = np.random.default_rng(seed).permutation(rows)
    lengths = np.random.default_rng(seed).uniform(0.1, 9, (rows, 1))
    assert vendi((lengths * features)[order]) == pytest.approx(found)
    assert vendi(np.concatenate([features, features])) == pytest.approx(found)


def test_vendi_is_the_packages():
    package = pytest.importorskip("vendi_score.vendi", exc_type=ImportError)
    for rows, columns in [(4, 9), (9, 4)]:
        features = fresh(rows, columns)
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        assert vendi(features) == pytest.approx(package.score_K(unit @ unit.T))
        assert vendi(features) == pytest.approx(package.score_X(unit, normalize=False))


def test_collapse_is_zero_and_one():
    same = np.repeat(fresh(1, 8), 6, axis=0)
    assert pair_sum(cosine_distances(same)).total == 0
    assert pair_sum(squared_distances(same)).total == 0
    assert vendi(same) == pytest.approx(1)
    assert vendi_within(same) == pytest.approx(0, abs=1e-20)


@given(st.integers(2, 8), st.integers(0, 2**31))
def test_pairwise_properties(rows, seed):
    features = fresh(rows, 5, seed)
    order = np.random.default_rng(seed).permutation(rows)
    for measure in (cosine_distances, squared_distances):
        whole = pair_sum(measure(features))
        again = pair_sum(measure(features[order]))
        assert whole[:2] == pytest.approx(again[:2])
    assert 0 <= pair_sum(cosine_distances(features)).total <= 2 * rows * (rows - 1) / 2


def test_pairwise_within_tells_the_spread_over_seeds():
    rng = np.random.default_rng()
    sums = [pair_sum(squared_distances(rng.normal(size=(6, 4)))) for _ in range(3000)]
    spread = np.var([each.total for each in sums])
    assert 0.9 * spread < np.mean([each.within for each in sums]) < 1.5 * spread


def test_zero_features_are_refused():
    with pytest.raises(ValueError, match="must not be zero"):
        vendi(np.zeros((2, 3)))


def test_prdc_by_hand():
    real = np.array([[0.0], [1.0], [3.0]])  # radii for k = 1: 1, 1, 2
    fake = np.array([[0.5], [2.5], [10.0]])  # radii for k = 1: 2, 2, 7.5
    np.testing.assert_allclose(radii(real, 1), [1, 1, 2])
    np.testing.assert_allclose(radii(fake, 1), [2, 2, 7.5])
    found = prdc(real, fake, 1)
    # 0.5 lies in the balls of 0 and 1, 2.5 in that of 3 alone (1.5 from 1), 10 in none.
    assert found.precision.tolist() == [True, True, False]
    assert found.density.tolist() == [2, 1, 0]
    # All three are near 0.5 or 2.5.
    assert found.recall.tolist() == [True, True, True]
    assert found.coverage.tolist() == [True, True, True]
    assert prdc(real, np.array([[10.0], [11.0]]), 1).coverage.tolist() == [False, False, False]


def test_prdc_is_the_packages():
    package = pytest.importorskip("prdc")
    real, fake = fresh(700, 6), 0.8 * fresh(600, 6) + 0.3
    found = prdc(real, fake, 5)._asdict()
    theirs = package.compute_prdc(real, fake, nearest_k=5)
    assert {name: pytest.approx(float(v)) for name, v in theirs.items()} == {
        name: values.mean() for name, values in found.items()
    }
    assert 0.1 < found["coverage"].mean() < 0.95


def test_prdc_does_not_depend_on_the_order():
    rng = np.random.default_rng()
    real, fake = fresh(80, 3), fresh(90, 3)
    found = prdc(real, fake)
    a, b = rng.permutation(80), rng.permutation(90)
    again = prdc(real[a], fake[b])
    assert (again.coverage == found.coverage[a]).all()
    assert (again.density == found.density[b]).all()


def test_prdc_of_a_collapsed_student():
    real = fresh(200, 4)
    found = prdc(real, np.repeat(real[:1], 200, axis=0))
    assert found.coverage.mean() < 0.1 and found.recall.mean() == 0


def test_coverage_of_the_same_law():
    shares = [prdc(fresh(150, 3), fresh(120, 3)).coverage.mean() for _ in range(200)]
    six_errors = 6 * np.std(shares) / np.sqrt(len(shares))  # about 0.012
    assert abs(np.mean(shares) - expected_coverage(150, 120)) < six_errors < 0.03
    assert expected_coverage(10**6, 10**6) == pytest.approx(1 - 2**-5, abs=1e-4)


def test_prdc_refuses_too_few():
    with pytest.raises(ValueError, match="need more than 5 samples in each set, got 5 and 9"):
        prdc(fresh(5, 2), fresh(9, 2))
