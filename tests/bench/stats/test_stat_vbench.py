"""VBench's totals: hand-worked constants, joint draws, what is missing, common prompts."""

import math

import numpy as np
import pytest

from rcm_bench.statistics import Clusters
from rcm_bench.statistics.intervals import raw_estimate
from rcm_bench.statistics.vbench_dimensions import DIMENSIONS, GROUPS, NAMES, TOTALS, totals
from rcm_bench.statistics.vbench_total import as_mean, compare_vbench, estimate_vbench
from rcm_bench.statistics_coverage.vbench import STUDENT, TEACHER, Law, draw

DRAWS = 200


@pytest.fixture
def rng() -> np.random.Generator:
    seed = np.random.SeedSequence().entropy
    print("seed", seed)
    return np.random.default_rng(seed)


@pytest.fixture
def pair(rng) -> tuple[Clusters, Clusters]:
    return draw((Law(STUDENT), Law(TEACHER)), rng)


def planned(clusters: Clusters) -> np.ndarray:
    own = np.zeros(clusters.denominator.shape)
    for group, (_, names) in enumerate(GROUPS):
        columns = [NAMES.index(name) for name in names]
        own[np.ix_(clusters.strata == group, columns)] = 5
    return own


def changed(clusters: Clusters, rows, columns) -> Clusters:
    top, bottom = clusters.numerator.copy(), clusters.denominator.copy()
    top[rows, columns] = bottom[rows, columns] = 0
    return Clusters(numerator=top, denominator=bottom, strata=clusters.strata)


def test_groups_hold_each_dimension_once_and_946_prompts() -> None:
    assert sorted(name for _, names in GROUPS for name in names) == sorted(NAMES)
    assert (len(GROUPS), sum(number for number, _ in GROUPS)) == (11, 946)


def test_totals_by_hand() -> None:
    """All at the top of their range but dynamic degree 0: 6 of 6.5, and 9 of 9."""
    raw = np.array([d.high for d in DIMENSIONS.values()])
    raw[NAMES.index("dynamic_degree")] = 0
    found = totals(raw)
    assert found["quality"] == pytest.approx(6 / 6.5, rel=1e-12)
    assert found["semantic"] == pytest.approx(1.0, rel=1e-12)
    assert found["total"] == pytest.approx((4 * 6 / 6.5 + 1) / 5, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "slope"),
    [("motion_smoothness", 0.422), ("dynamic_degree", 0.0615), ("appearance_style", 0.078)],
)
def test_the_total_moves_with_a_dimension_as_worked_out(name, slope) -> None:
    step = np.eye(16)[NAMES.index(name)]
    assert totals(step)["total"] - totals(0 * step)["total"] == pytest.approx(slope, abs=5e-4)


def test_a_total_written_as_a_mean_is_the_total_with_the_bootstraps_error(pair) -> None:
    found = estimate_vbench(pair[0], planned(pair[0]), num_replicates=2000)
    for name in TOTALS:
        linear = raw_estimate(as_mean(pair[0], name), "mean", "new prompts")
        joint = getattr(found, name)
        assert linear.value == pytest.approx(joint.value, rel=1e-12)
        assert linear.se == pytest.approx(joint.se, rel=0.1)
        assert joint.low < joint.value < joint.high


def test_the_total_comes_with_the_dynamic_degree(pair) -> None:
    found = estimate_vbench(pair[0], planned(pair[0]), num_replicates=DRAWS)
    assert found.dynamic_degree == found.dimensions["dynamic_degree"]
    raw = pair[0].numerator.sum(0) / pair[0].denominator.sum(0)
    assert found.dynamic_degree.value == pytest.approx(raw[NAMES.index("dynamic_degree")])
    assert found.total.value == pytest.approx(float(totals(raw)["total"]), rel=1e-12)


def test_a_missing_dimension_takes_its_totals_with_it_and_is_never_zero(pair) -> None:
    color = NAMES.index("color")
    bare = changed(pair[0], slice(None), color)
    found = estimate_vbench(bare, planned(pair[0]), num_replicates=DRAWS)
    assert math.isnan(found.total.value) and math.isnan(found.semantic.value)
    assert found.total.method == "no total: nothing scored in color"
    assert found.semantic.method == "no semantic: nothing scored in color"
    assert not math.isnan(found.quality.low)
    assert math.isnan(found.dimensions["color"].value)
    compared = compare_vbench(bare, pair[1], num_replicates=DRAWS)
    assert math.isnan(compared.total.difference)
    assert compared.total.method == "no total: nothing scored in color"
    assert not math.isnan(compared.quality.difference_low)


def test_dropped_videos_are_counted(pair) -> None:
    color = NAMES.index("color")
    found = estimate_vbench(pair[0], planned(pair[0]), num_replicates=DRAWS).scored["color"]
    assert (found.prompts_planned, found.videos_planned) == (85, 425)
    assert found.videos == pair[0].denominator[:, color].sum() < 425
    assert found.prompts == (pair[0].denominator[:, color] > 0).sum()


def test_a_model_against_itself_differs_by_nothing(pair) -> None:
    found = compare_vbench(pair[0], pair[0], num_replicates=DRAWS)
    for name in TOTALS:
        own = getattr(found, name)
        assert (own.difference, own.difference_low, own.difference_high) == (0, 0, 0)
        assert (own.ratio, own.p) == (1, 1)


def test_pairs_are_made_on_prompts_that_both_have(pair) -> None:
    """What the teacher lacks must not count for the student either."""
    student, teacher = pair
    color = NAMES.index("color")
    rows = np.flatnonzero(student.denominator[:, color] > 0)[:10]
    teacher = changed(teacher, rows, color)
    found = compare_vbench(student, teacher, num_replicates=DRAWS).dimensions["color"]
    both = (student.denominator[:, color] > 0) & (teacher.denominator[:, color] > 0)
    a, b = (
        c.numerator[both, color].sum() / c.denominator[both, color].sum()
        for c in (student, teacher)
    )
    assert found.difference == pytest.approx(a - b, rel=1e-12)


def test_other_components_are_refused(pair) -> None:
    with pytest.raises(ValueError, match="expected 16 components"):
        estimate_vbench(as_mean(pair[0], "quality"), planned(pair[0]))
