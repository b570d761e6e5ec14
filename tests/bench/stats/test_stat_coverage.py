"""Coverage by simulation: a fast check of what matters, and the committed table's claims."""

import csv
from pathlib import Path

import numpy as np
import pytest

from rcm_bench.statistics_coverage import laboratory, vbench
from rcm_bench.statistics_coverage.alarms import simulated
from rcm_bench.statistics_coverage.designs import (
    GENEVAL_PROMPTS,
    PUBLISHED,
    Design,
    again,
    geneval,
    law,
    simulate,
)
from rcm_bench.statistics_coverage.measure import (
    HIGH,
    LOW,
    Draws,
    Row,
    covered,
    paired_rows,
    resampled_rows,
    single_rows,
    step_of,
)
from rcm_bench.statistics_coverage.table import same

GALLERY = Path(__file__).parents[3] / "reports" / "gallery"
REAL = laboratory.load(GALLERY / "coverage" / "laboratory.csv")


@pytest.fixture
def rng() -> np.random.Generator:
    seed = np.random.SeedSequence().entropy
    print("seed", seed)
    return np.random.default_rng(seed)


def ours(rows: list[Row], number: str) -> float:
    found = [row.coverage for row in rows if row.ours and row.number == number]
    assert len(found) == 1
    return found[0]


def quick(prompts: int = 10, icc: float = 0.6) -> Design:
    return Design(
        name="quickstart",
        shares=PUBLISHED["rCM 2B, 4 steps"],
        reference=PUBLISHED["Cosmos 2B"],
        prompts=(prompts,) * 6,
        icc=(icc,) * 6,
    )


def near_nominal(coverage: float, runs: int) -> bool:
    """Say whether it lies within five standard errors of what ``runs`` tell of 93 to 97 %."""
    return abs(coverage - 0.95) < 0.02 + 5 * np.sqrt(0.95 * 0.05 / runs)


def test_clustered_intervals_cover_where_naive_ones_do_not(rng) -> None:
    rows = single_rows(quick(), 600, rng)
    assert near_nominal(ours(rows, "accuracy"), 600)
    assert rows[-1].method.startswith("binomial")
    assert rows[-1].coverage < 0.85


def test_near_the_ceiling_the_plain_interval_fails_and_ours_does_not(rng) -> None:
    design = Design(name="", shares=(0.97,), reference=(0.97,), prompts=(40,))
    rows = single_rows(design, 600, rng)
    assert near_nominal(ours(rows, "accuracy"), 600)
    assert rows[1].method == "Student t, clustered"
    assert rows[1].coverage < 0.88


def test_differences_and_ratios_cover(rng) -> None:
    rows = paired_rows(quick(), 500, rng)
    assert near_nominal(ours(rows, "difference"), 500)
    assert near_nominal(ours(rows, "ratio"), 500)


@pytest.mark.parametrize("metric", laboratory.METRICS)
def test_means_and_ratios_of_sums_cover_on_prompts_of_a_real_run(metric, rng) -> None:
    rows = resampled_rows(REAL, metric, ("rcm", 2), 10, Draws(400, rng))
    assert {row.number for row in rows} >= {"value", "difference"}
    for row in rows:
        assert near_nominal(row.coverage, 400), row


def test_vbench_totals_cover(rng) -> None:
    rows = vbench.rows("", vbench.STUDENT, 60, rng)
    totals = [row for row in rows if "joint" in row.method]
    assert len(totals) == 9
    assert near_nominal(np.mean([row.coverage for row in totals]), 60)  # all from the same draws
    assert near_nominal(np.mean([row.coverage for row in rows if row.ours]), 11 * 60)  # groups


def test_the_teacher_against_itself_alarms_in_5_percent(rng) -> None:
    design = same("", PUBLISHED["Cosmos 2B"], (0.6,) * 6, 10)
    rows = {row.what: row.alarms / row.trials for row in simulated(design, 150, rng, True)}
    # Three steps share a teacher, so that 450 tests tell at least as much as 150 would.
    five_errors = 5 * np.sqrt(0.05 * 0.95 / 150)
    assert 0 < rows["overall, one test"] < 0.05 + five_errors
    assert rows["six tasks x 3 steps, Holm"] < 0.05 + five_errors


def test_too_few_prompts_are_no_coverage_but_no_interval(rng) -> None:
    design = Design(name="", shares=(0.5,), reference=(0.5,), prompts=(10,))
    assert np.isnan(ours(single_rows(design, 5, rng), "accuracy"))


def test_simulated_images_have_the_correlations_asked_for(rng) -> None:
    design = Design(
        name="", shares=(0.7,), reference=(0.6,), prompts=(20_000,), icc=(0.4,), correlation=0.8
    )
    counts, _ = simulate(design, 1, rng)
    assert counts[0].mean(1) / 4 == pytest.approx(design.truths(), abs=0.015)
    means = counts[0] / 4
    variance = 0.7 * 0.3 * (1 + 3 * 0.4) / 4
    assert means[0].var() == pytest.approx(variance, rel=0.05)
    chance = law(0.7, 0.4)
    twice = again(design, 2, rng) / 4
    assert np.cov(twice)[0, 1] == pytest.approx(chance.var(), rel=0.05)
    assert np.corrcoef(means)[0, 1] > 0.4


def test_coverage_and_step_by_hand() -> None:
    assert covered([(0.0, 1.0), (0.4, 0.6), (0.6, 0.8)], 0.5) == (2 / 3, pytest.approx(1.4 / 3))
    # 100 outcomes: 4 zeros hold the 2.5 % point, 60 ones the 97.5 % point.
    assert step_of([0.0] * 4 + [0.5] * 36 + [1.0] * 60) == 0.6


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("icc", [0.6, 0.1])
def test_geneval_covers_between_93_and_97(number, icc, rng) -> None:
    design = list(geneval((icc,) * 6, 0.7, ""))[number]
    assert design.prompts == GENEVAL_PROMPTS
    margin = 3 * np.sqrt(0.95 * 0.05 / 3000)
    assert LOW - margin < ours(single_rows(design, 3000, rng), "accuracy") < HIGH + margin
    assert LOW - margin < ours(paired_rows(design, 3000, rng), "difference") < HIGH + margin


@pytest.mark.slow
@pytest.mark.parametrize("icc", [0.6, 0.1])
@pytest.mark.parametrize("prompts", [4, 5, 7, 10])
def test_quickstarts_of_24_to_60_prompts_cover_between_93_and_97(prompts, icc, rng) -> None:
    design = quick(prompts, icc)
    assert 0.93 < ours(single_rows(design, 4000, rng), "accuracy") < 0.972
    assert 0.93 < ours(paired_rows(design, 4000, rng), "difference") < 0.972


def table(name: str) -> list[dict[str, str]]:
    with (GALLERY / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_committed_table_holds_its_claim() -> None:
    """GenEval's and VBench's totals lie inside; what lies outside is discrete or untold."""
    rows = [r for r in table("coverage/coverage.csv") if r["method"].startswith("ours")]
    whole = [r for r in rows if r["prompts"] in ("553", "946") and r["coverage"] != "nan"]
    assert len(whole) == 8 * 3 + 2 * 9
    assert all(LOW <= float(r["coverage"]) <= HIGH for r in whole)
    few = [r for r in rows if r["number"] == "accuracy" and int(r["prompts"]) < 20]
    assert few and all(r["coverage"] == "nan" for r in few)
    assert all(int(r["prompts"]) < 20 for r in rows if r["coverage"] == "nan")


def test_the_committed_alarms_are_about_5_percent() -> None:
    found = [r for r in table("coverage/alarms.csv") if r["what"] == "overall, one test"]
    assert len(found) == 7
    assert all(0.03 < int(r["alarms"]) / int(r["trials"]) < 0.07 for r in found)
    real = [r for r in table("aa/alarms.csv") if r["what"] == "every test"]
    assert len(real) == 2
    for row in real:
        assert float(row["low"]) < 0.05 < float(row["high"]) + 0.02
