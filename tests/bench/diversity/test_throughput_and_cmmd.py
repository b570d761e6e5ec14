import shutil

import numpy as np
import pandas as pd
import pytest
from tiny_suite import SUITE

import rcm_bench
from rcm_bench.finish import open_run
from rcm_bench.statistics.discrepancy import contributions
from rcm_bench.throughput import parts_of, throughput_rows

TIMED = SUITE.replace("{brightness: {}}", "{throughput: {}}")


def test_cmmd_by_double_loops():
    rng = np.random.default_rng()
    real, fake = rng.normal(size=(7, 4)), rng.normal(size=(5, 4)) + 1

    def k(a, b):
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        return np.exp(-((a - b) ** 2).sum() / 200)

    xx = np.mean([k(a, b) for i, a in enumerate(real) for j, b in enumerate(real) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(fake) for j, b in enumerate(fake) if i != j])
    xy = np.mean([k(a, b) for a in real for b in fake])
    expected = 1000 * (xx + yy - 2 * xy)
    assert contributions(real, fake).mean() == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_cmmd_of_one_law_is_zero_on_average():
    rng = np.random.default_rng()
    found = [contributions(*rng.normal(size=(2, 20, 3))).mean() for _ in range(400)]
    assert abs(np.mean(found)) < 5 * np.std(found) / 20
    assert min(found) < 0 < max(found)


def test_rows_of_a_record_by_hand():
    record = {
        "seconds": [2.0] * 8,
        "parts": {"sample": [1.5] * 8, "decode": [0.5] * 8},
        "frames": 81,
        "peak_bytes": 3_000_000,
        "memory": "CUDA allocated",
    }
    rows = {row["metric"]: row for row in throughput_rows(record)}
    assert {name: row["value"] for name, row in rows.items()} == {
        "seconds_per_sample": 2,
        "samples_per_second": 0.5,
        "frames_per_second": 40.5,
        "seconds: decode": 0.5,
        "seconds: sample": 1.5,
        "peak_memory": 3,
    }
    uneven = {"seconds": [1.0, 2, 2, 2, 2, 2, 2, 4]}
    rows = {row["metric"]: row for row in throughput_rows(uneven)}
    assert set(rows) == {"seconds_per_sample", "samples_per_second"}
    seconds, rate = rows["seconds_per_sample"], rows["samples_per_second"]
    assert (rate["low"], rate["high"]) == (1 / seconds["high"], 1 / seconds["low"])
    assert parts_of([{"a": 1.0}, {"a": 2.0, "b": 3.0}]) == {"a": [1, 2], "b": [0, 3]}


@pytest.fixture
def run(runs, tmp_path):
    return shutil.copytree(runs(TIMED), tmp_path / "run")


def test_a_run_measures_speed_parts_and_memory(run):
    timings = pd.read_csv(run / "tables" / "timing.csv").set_index(["metric", "model", "steps"])
    assert set(timings["benchmark"]) == {"throughput"}
    rate = timings.loc[("samples_per_second", "student", 2)]
    assert 0 < rate["low"] <= rate["value"] <= rate["high"]
    assert timings.loc[("seconds: sample", "student", 2), "value"] == 1e-4  # what the model says
    memory = timings.loc[("peak_memory", "student", 2)]
    assert memory["value"] > 10 and "resident set" in memory["method"]
    measured = pd.read_csv(run / "tables" / "measurements.csv").set_index("metric")
    assert set(measured.loc["nfe", "value"]) == {1, 2, 4}


def test_speed_is_never_taken_from_another_run(run, tmp_path):
    text = TIMED + f"reuse: ['{run}']\n"
    from tiny_suite import ENOUGH

    (tmp_path / "prompts.txt").write_text(ENOUGH)
    (tmp_path / "again.yaml").write_text(text)
    rcm_bench.run(str(tmp_path / "again.yaml"), tmp_path / "again")
    first, second = (open_run(folder).store.index() for folder in (run, tmp_path / "again"))
    assert {r["blob"] for r in first.samples.values()} == {
        r["blob"] for r in second.samples.values()
    }
    assert first.timings.keys() == second.timings.keys()
    for cell, (record,) in second.timings.items():
        assert record["at"] > first.timings[cell][0]["at"]
        assert record["seconds"] != first.timings[cell][0]["seconds"]
