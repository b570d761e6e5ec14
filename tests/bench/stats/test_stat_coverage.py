"""Coverage by simulation: a fast check of what matters, and the committed table's claims."""

import csv
from pathlib import Path

import numpy as np
import pytest

from rcm_bench.statistics_coverage import MIXED, Design, Row, paired_rows, single_rows

TABLE = Path(__file__).parents[3] / "reports" / "gallery" / "coverage" / "coverage.csv"


@pytest.fixture
def rng() -> np.random.Generator:
    seed = np.random.SeedSequence().entropy
    print("seed", seed)
    return np.random.default_rng(seed)


def by_method(rows: list[Row]) -> dict[str, float]:
    return {f"{row.number}: {row.method}": row.coverage for row in rows}


def test_clustered_intervals_cover_where_naive_ones_do_not(rng) -> None:
    found = by_method(single_rows(Design(shares=MIXED, prompts=20), 600, rng))
    assert found["value: Wilson, clustered (ours)"] > 0.915
    assert found["value: binomial, images independent"] < 0.85


def test_near_the_ceiling_the_plain_interval_fails_and_ours_does_not(rng) -> None:
    found = by_method(single_rows(Design(shares=(0.97,), prompts=40), 600, rng))
    assert found["value: Wilson, clustered (ours)"] > 0.92
    assert found["value: Student t, clustered"] < 0.88


def test_differences_and_ratios_cover(rng) -> None:
    design = Design(shares=(0.8, 0.9), prompts=15, reference=(0.95, 0.9))
    found = by_method(paired_rows(design, 300, rng))
    assert found["difference: MOVER (ours)"] > 0.9
    assert found["ratio: MOVER (ours)"] > 0.9


def test_equal_models_are_rarely_told_apart(rng) -> None:
    design = Design(shares=(0.7,), prompts=15, reference=(0.7,))
    found = by_method(paired_rows(design, 300, rng))
    assert found["not rejected: sign flip (ours)"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("icc", [0.6, 0.2])
@pytest.mark.parametrize("prompts", [10, 20, 100])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
def test_six_tasks_cover_between_93_and_99(rng, share, prompts, icc) -> None:
    design = Design(shares=(share,) * 6, prompts=prompts, icc=icc)
    found = by_method(single_rows(design, 4000, rng))
    assert 0.93 < found["value: Wilson, clustered (ours)"] < 0.99


def test_the_committed_table_holds_its_claim() -> None:
    """Six tasks: no line of ours below 93 %, and single tasks not below 92 %."""
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ours = [r for r in rows if "(ours)" in r["method"]]
    assert len(ours) == 270
    assert min(float(r["coverage"]) for r in ours if r["tasks"] == "6") > 0.93
    assert min(float(r["coverage"]) for r in ours) > 0.92
