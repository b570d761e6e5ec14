"""Scores to tables: columns, missing samples, order, totals, pairing, Holm."""

import math

import numpy as np
import pandas as pd
import pytest
from bench_tables import make_samples, make_scores

from rcm_bench.aggregate import MEASUREMENTS, PAIRED, aggregate, reference_cell
from rcm_bench.benchmarks import detail, geneval, latency
from rcm_bench.errors import UserError
from rcm_bench.geneval_rules import TASKS
from rcm_bench.types import Reference

TEACHER = ("teacher", "euler", 16)
CELLS = [TEACHER, ("rcm", "consistency", 1), ("rcm", "consistency", 4)]
REFERENCE = Reference(model="teacher", steps=16)
PROMPTS = [(f"{task}-{i}", task) for task in TASKS for i in range(6)]


@pytest.fixture
def samples():
    return make_samples(CELLS, PROMPTS)


@pytest.fixture
def scores(samples, rng):
    return make_scores(samples, "correct", rng.random(len(samples)) < 0.8)


def run(samples, scores, **options):
    return aggregate(samples, scores, [geneval.Benchmark()], REFERENCE, "abc", **options)


def row(table, metric, model="rcm", steps=4):
    found = table.query("metric == @metric and model == @model and steps == @steps")
    assert len(found) == 1
    return found.iloc[0]


def test_columns_and_rows_are_the_contracts(samples, scores) -> None:
    tables = run(samples, scores)
    assert list(tables.measurements.columns) == MEASUREMENTS
    assert list(tables.paired.columns) == PAIRED
    assert len(tables.measurements) == 7 * 3
    assert len(tables.paired) == 7 * 2
    assert set(tables.measurements["protocol"]) == {"abc"}
    assert {type(tied) for tied in tables.paired["tied"]} <= {bool, type(None)}
    assert set(tables.paired["reference_model"]) == {"teacher"}


def test_overall_is_the_mean_of_task_means(rng) -> None:
    """Not the mean over images: tasks of different size weigh the same."""
    prompts = [(f"s{i}", "single_object") for i in range(20)] + PROMPTS[6:]
    samples = make_samples(CELLS, prompts)
    scores = make_scores(samples, "correct", samples["task"] == "single_object")
    tables = run(samples, scores)
    assert row(tables.measurements, "overall")["value"] == pytest.approx(1 / 6, rel=1e-12)
    assert row(tables.measurements, "single_object")["value"] == 1.0


def test_row_order_changes_no_byte(samples, scores, rng) -> None:
    first = run(samples, scores)
    seed = int(rng.integers(2**31))
    second = run(
        samples.sample(frac=1, random_state=seed), scores.sample(frac=1, random_state=seed + 1)
    )
    for one, two in zip(first, second, strict=True):
        assert one.to_csv() == two.to_csv()


def test_scores_repeated_for_each_benchmark_count_once(samples, scores) -> None:
    thrice = pd.concat([scores.assign(benchmark=b) for b in ("geneval", "diversity", "detail")])
    assert run(samples, thrice).measurements.equals(run(samples, scores).measurements)
    contradiction = pd.concat([scores, scores.assign(value=1 - scores["value"])])
    with pytest.raises(ValueError, match="expected one value of 'correct' per sample"):
        run(samples, contradiction)


def test_missing_samples_are_counted_and_never_zero() -> None:
    samples = make_samples(CELLS, PROMPTS)
    values = np.ones(len(samples))
    gone = (samples["model"] == "rcm") & (samples["steps"] == 4) & (samples["seed_index"] == 0)
    values[gone] = np.nan
    unscored = make_scores(samples, "correct", values)
    for scores in (unscored, unscored[unscored["value"].notna()]):
        tables = run(samples, scores)
        found = row(tables.measurements, "overall")
        assert (found["value"], found["n_samples"], found["n_missing"]) == (1.0, 108, 36)
        pair = row(tables.paired, "overall")
        assert (pair["difference"], pair["n_missing"], pair["n_prompts"]) == (0.0, 36, 36)
        assert row(tables.measurements, "overall", "teacher", 16)["n_missing"] == 0
    zeroed = run(samples, unscored, failures="score_zero").measurements
    assert row(zeroed, "overall")["value"] == 0.75
    assert row(zeroed, "overall")["n_missing"] == 36


def test_prompts_without_a_score_leave_the_pair(samples) -> None:
    values = np.ones(len(samples))
    values[(samples["model"] == "rcm") & (samples["prompt_id"] == "counting-0")] = np.nan
    values[(samples["model"] == "teacher") & (samples["prompt_id"] == "counting-0")] = 0
    tables = run(samples, make_scores(samples, "correct", values))
    pair = row(tables.paired, "counting")
    assert (pair["n_prompts"], pair["difference"]) == (5, 0.0)
    # The student's 4 unscored samples, and the teacher's 4 that have no partner.
    assert (pair["n_samples"], pair["n_missing"]) == (20, 8)
    assert row(tables.measurements, "counting", "teacher", 16)["value"] == pytest.approx(5 / 6)


def test_a_task_without_scores_takes_the_total_with_it(samples, scores) -> None:
    silent = scores[~scores["item_id"].str.contains(r"rcm\|4\|colors")]
    tables = run(samples, silent)
    found = row(tables.measurements, "overall")
    assert math.isnan(found["value"])
    assert found["method"] == "no total: nothing scored in colors"
    assert found["n_missing"] == 24
    assert math.isnan(row(tables.paired, "overall")["difference"])
    assert not math.isnan(row(tables.measurements, "counting")["value"])


def test_a_limited_run_has_no_total(samples, scores) -> None:
    tables = run(samples, scores, totals=False)
    assert math.isnan(row(tables.measurements, "overall")["value"])
    assert row(tables.measurements, "overall")["method"].startswith("no total: the run is limited")
    assert math.isnan(row(tables.paired, "overall")["p_holm"])
    assert not math.isnan(row(tables.measurements, "counting")["value"])


def test_nothing_scored_at_all_is_a_table_of_gaps(samples, scores) -> None:
    tables = run(samples, scores[:0])
    assert tables.measurements["value"].isna().all()
    assert (tables.measurements.query("metric == 'overall'")["n_missing"] == 144).all()
    assert [tied for tied in tables.paired["tied"] if tied is not None] == []


LARGE = [(f"{task}-{i:02}", task) for task in TASKS for i in range(10)]


def test_holm_runs_over_steps_of_a_students_headlines_and_over_its_parts(rng) -> None:
    samples = make_samples(CELLS, LARGE)
    paired = run(samples, make_scores(samples, "correct", rng.random(len(samples)) < 0.8)).paired
    for family, tests in (("headlines", 2), ("geneval parts", 12)):
        rows = paired[paired["family"] == family]
        assert len(rows) == tests
        assert rows["method"].str.endswith(f"Holm over {tests} tests ({family} x steps)").all()
        smallest = rows["p"].idxmin()
        assert rows.loc[smallest, "p_holm"] == pytest.approx(min(1, tests * rows["p"].min()))
        assert rows["tied"].tolist() == (rows["p_holm"] >= 0.05).tolist()
    assert (paired["p_holm"] >= paired["p"]).all()


def test_headlines_of_all_benchmarks_are_one_family(rng) -> None:
    samples = make_samples(CELLS, LARGE)
    scores = pd.concat(
        [
            make_scores(samples, "correct", rng.random(len(samples)) < 0.8),
            make_scores(samples, "psnr", rng.normal(30, 2, len(samples))),
        ]
    )
    both = [geneval.Benchmark(), detail.Benchmark()]
    paired = aggregate(samples, scores, both, REFERENCE, "abc").paired
    rows = paired[paired["family"] == "headlines"]
    assert sorted(set(rows["benchmark"] + "." + rows["metric"])) == [
        "detail.psnr",
        "geneval.overall",
    ]
    assert rows["method"].str.endswith("Holm over 4 tests (headlines x steps)").all()


def test_too_few_prompts_to_tell_is_no_tie() -> None:
    """6 prompts a task: 12 tests / 2^6 can never be below 5 %, however far apart they are."""
    samples = make_samples(CELLS, PROMPTS)
    paired = run(samples, make_scores(samples, "correct", samples["model"] == "teacher")).paired
    parts = paired[paired["family"] == "geneval parts"]
    assert parts["difference"].tolist() == [-1.0] * 12
    assert parts["p"].tolist() == parts["p_least"].tolist() == [1 / 2**6] * 12
    assert parts["tied"].tolist() == [None] * 12
    assert parts["p_holm"].isna().all()
    assert parts["method"].str.endswith("untested: too few prompts to tell among 12 tests").all()
    headlines = paired[paired["family"] == "headlines"]
    assert headlines["tied"].tolist() == [False, False]


def test_ten_prompts_a_task_can_tell_though_they_get_no_interval() -> None:
    samples = make_samples(CELLS, LARGE)
    paired = run(samples, make_scores(samples, "correct", samples["model"] == "teacher")).paired
    parts = paired[paired["family"] == "geneval parts"]
    assert parts["method"].str.startswith("no interval: 10 prompts, at least 20").all()
    assert parts["difference_low"].isna().all() and parts["detectable"].isna().all()
    assert parts["tied"].tolist() == [False] * 12
    assert parts["p_holm"].tolist() == pytest.approx([12 / 2**10] * 12)


def test_the_same_prompts_are_known_better_than_new_ones(rng) -> None:
    """Prompts that are all right or all wrong: new seeds would change nothing."""
    samples = make_samples([TEACHER], PROMPTS)
    scores = make_scores(samples, "correct", samples["prompt_id"].str[-1].astype(int) % 2)
    new = row(run(samples, scores).measurements, "overall", "teacher", 16)
    same = row(
        run(samples, scores, population="same prompts").measurements, "overall", "teacher", 16
    )
    assert same["high"] - same["low"] < (new["high"] - new["low"]) / 1.5
    assert new["population"].startswith("new prompts")
    assert same["population"] == "these prompts, new seeds, this checkpoint"


def energies(samples, image, rendered):
    image = np.broadcast_to(image, len(samples))
    details = [
        {"image": float(i), "rendered": float(r)} for i, r in zip(image, rendered, strict=True)
    ]
    return make_scores(samples, "sharpness", image / rendered, details)


def test_detail_is_averaged_and_ratios_of_db_are_left_out(rng) -> None:
    samples = make_samples(CELLS, PROMPTS)
    values = rng.normal(30, 2, len(samples))
    rendered = rng.uniform(0.5, 1.5, len(samples))
    scores = pd.concat(
        [make_scores(samples, "psnr", values), energies(samples, rendered * values / 30, rendered)]
    )
    tables = aggregate(samples, scores, [detail.Benchmark()], REFERENCE, "abc")
    own = (samples["model"] == "rcm") & (samples["steps"] == 4)
    assert row(tables.measurements, "psnr")["value"] == pytest.approx(values[own].mean(), rel=1e-12)
    assert math.isnan(row(tables.paired, "psnr")["ratio"])
    assert not math.isnan(row(tables.paired, "sharpness")["ratio_low"])


def test_an_image_without_objects_does_not_run_away_with_sharpness(rng) -> None:
    """By hand: 143 images of 0.9 over 1, and one of 0.9 over 1e-6, alone a ratio of 900,000."""
    samples = make_samples([TEACHER], PROMPTS)
    rendered = np.ones(len(samples))
    rendered[0] = 1e-6
    tables = aggregate(
        samples, energies(samples, 0.9, rendered), [detail.Benchmark()], REFERENCE, "abc"
    )
    found = row(tables.measurements, "sharpness", "teacher", 16)
    assert found["value"] == pytest.approx(144 * 0.9 / (143 + 1e-6), rel=1e-9)
    assert found["high"] < 1.0


def test_an_image_without_energies_is_missing_from_sharpness() -> None:
    samples = make_samples([TEACHER], PROMPTS)
    scores = energies(samples, 0.5, np.ones(len(samples)))
    scores.loc[[0, 1], ["value", "details"]] = [np.nan, "{}"]
    found = row(
        aggregate(samples, scores, [detail.Benchmark()], REFERENCE, "abc").measurements,
        "sharpness",
        "teacher",
        16,
    )
    assert (found["value"], found["n_samples"], found["n_missing"]) == (0.5, 142, 2)


def test_network_evaluations_are_exact_and_not_compared(samples, scores) -> None:
    counted = samples.assign(nfe=2 * samples["steps"])
    tables = aggregate(counted, scores, [latency.Benchmark()], REFERENCE, "abc")
    found = row(tables.measurements, "nfe")
    assert (found["value"], found["low"], found["high"]) == (8, 8, 8)
    assert found["method"] == "exact count"
    assert tables.paired.empty


def test_a_reference_that_is_not_there_is_the_users_fault(samples, scores) -> None:
    with pytest.raises(UserError, match=r"model 'teacher' at 8 steps, got rcm at 1, rcm at 4"):
        aggregate(samples, scores, [], Reference(model="teacher", steps=8), "abc")
    twins = [("teacher", "heun", 16), TEACHER]
    with pytest.raises(UserError, match="got samplers euler, heun"):
        reference_cell(twins, REFERENCE)


def test_foreign_tasks_are_named(rng) -> None:
    samples = make_samples([TEACHER], [("p0", "prompt")])
    with pytest.raises(UserError, match="unknown task 'prompt'. Available: single_object"):
        run(samples, make_scores(samples, "correct", np.ones(4)))
