"""The shipped suites for scores that are there, from their variables to paired tables."""

import json

import numpy as np
import pandas as pd
import pytest
from test_bring_geneval_results import rows_of
from test_bring_vbench_results import info_rows, results_of

import rcm_bench
from rcm_bench.canonical import file_digest
from rcm_bench.geneval_prompts import official_metadata
from rcm_bench.geneval_results import results_text
from rcm_bench.geneval_rules import TASKS
from rcm_bench.statistics.vbench_dimensions import totals
from rcm_bench.statistics.vbench_i2v import I2V_DIMENSIONS, i2v_totals
from rcm_bench.vbench import prompts
from rcm_bench.vbench.dimensions import I2V, I2V_GROUPS

STEPS = (1, 2, 4)


@pytest.fixture
def given(monkeypatch):
    def give(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return give


def run(name, out, benchmark):
    """Run a shipped suite; its measurements by model, steps and metric, and what was paired."""
    outcome = rcm_bench.run(name, out)
    assert outcome.whole and outcome.done
    own = outcome.measurements.query("benchmark == @benchmark")
    paired = pd.read_csv(out / "tables" / "paired.csv").query("benchmark == @benchmark")
    assert set(zip(paired["model"], paired["steps"], strict=True)) == {
        ("student", count) for count in STEPS
    }
    assert set(paired["reference_model"]) == {"teacher"}
    assert paired["method"].str.endswith("; not verified: protocol not recorded").all()
    return own.set_index(["model", "steps", "metric"])["value"], paired.set_index(
        ["metric", "steps"]
    )


@pytest.mark.long
def test_geneval_results(tmp_path, given):
    rng = np.random.default_rng()
    records = official_metadata()
    right = {}
    for name, rate in (("teacher", 0.8), *((f"student-{count}", 0.5) for count in STEPS)):
        right[name] = rng.random((len(records), 4)) < rate
        (tmp_path / f"{name}.jsonl").write_text(results_text(rows_of(records, right[name])))
    given(TEACHER=tmp_path / "teacher.jsonl", STUDENT=tmp_path / "student-{steps}.jsonl")
    value, paired = run("bring_geneval_results", tmp_path / "out", "geneval")
    tasks = np.array([record["tag"] for record in records])
    for model, count in (("teacher", 35), *(("student", count) for count in STEPS)):
        name = model if model == "teacher" else f"student-{count}"
        expected = np.mean([right[name][tasks == task].mean() for task in TASKS])
        assert value[model, count, "overall"] == pytest.approx(expected)
    for count in STEPS:
        row = paired.loc["overall", count]
        assert row["difference_low"] < row["difference"] < row["difference_high"] < 0
    written = (tmp_path / "out/tables").glob("geneval_student_*.jsonl")
    assert len(list(written)) == len(STEPS)


def test_vbench_results(tmp_path, given, monkeypatch):
    (tmp_path / "info.json").write_text(json.dumps(info_rows()))
    monkeypatch.setattr(prompts, "INFO_SHA256", file_digest(tmp_path / "info.json"))
    raw = {}
    for name in ("teacher", *map(str, STEPS)):
        found, raw[name] = results_of(np.random.default_rng())
        (tmp_path / f"{name}_eval_results.json").write_text(json.dumps(found))
    given(
        TEACHER=tmp_path / "teacher_eval_results.json",
        STUDENT=tmp_path / "{steps}_eval_results.json",
        INFO=tmp_path / "info.json",
        PRESET="five-unfiltered",
    )
    value, paired = run("bring_vbench_results", tmp_path / "out", "vbench")
    assert value["teacher", 50, "total"] == pytest.approx(float(totals(raw["teacher"])["total"]))
    for count in STEPS:
        expected = float(totals(raw[str(count)])["total"])
        assert value["student", count, "total"] == pytest.approx(expected)
        difference = expected - float(totals(raw["teacher"])["total"])
        assert paired.loc["total", count]["difference"] == pytest.approx(difference)


def test_vbench_i2v_results(tmp_path, given, monkeypatch):
    rows = [
        {"prompt_en": f"{names[0]} {i}", "dimension": list(names), "image_name": "a.jpg"}
        for _, names in I2V_GROUPS
        for i in range(4)
    ]
    (tmp_path / "info.json").write_text(json.dumps(rows))
    monkeypatch.setattr(prompts, "I2V_SHA256", file_digest(tmp_path / "info.json"))
    rng = np.random.default_rng()
    raw = {}
    for name in ("teacher", *map(str, STEPS)):
        found = {}
        for dimension in I2V:
            scale = 100 if dimension == "imaging_quality" else 1
            own = [row["prompt_en"] for row in rows if dimension in row["dimension"]]
            values = {f"{text}-{k}.mp4": float(rng.random()) for text in own for k in range(5)}
            videos = [{"video_path": p, "video_results": scale * v} for p, v in values.items()]
            types = [{}] if dimension == "camera_motion" else []
            found[dimension] = [float(np.mean(list(values.values()))), *types, videos]
        raw[name] = np.array([found[dimension][0] for dimension in I2V_DIMENSIONS])
        (tmp_path / f"{name}_eval_results.json").write_text(json.dumps(found))
    given(
        TEACHER=tmp_path / "teacher_eval_results.json",
        STUDENT=tmp_path / "{steps}_eval_results.json",
        INFO=tmp_path / "info.json",
    )
    value, _ = run("bring_vbench_i2v_results", tmp_path / "out", "vbench_i2v")
    for name, expected in i2v_totals(raw["4"]).items():
        assert value["student", 4, name] == pytest.approx(float(expected)), name
