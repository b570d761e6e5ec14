"""GenEval's result files as scores: the verdicts' own table, paired, with nothing scored here."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import rcm_bench
from rcm_bench.errors import UserError
from rcm_bench.geneval_prompts import official_metadata
from rcm_bench.geneval_results import ResultRow, results_text
from rcm_bench.geneval_rules import TASKS
from rcm_bench.verbs.report import pages

SUITE = """\
suite: verdicts
models:
  teacher: {kind: results, role: teacher, layout: geneval, file: teacher.jsonl, steps: [35]}
  student: {kind: results, layout: geneval, file: "student-{steps}.jsonl"}
samplers: {not-recorded: {kind: elsewhere}}
steps: [1, 4]
prompts: {file: prompts.jsonl}
benchmarks: {geneval: {detector: {kind: results}}}
"""
PER_TASK = 6


@pytest.fixture(scope="module")
def records():
    """Some of the official prompts of each task."""
    official = official_metadata()
    return [r for task in TASKS for r in [r for r in official if r["tag"] == task][:PER_TASK]]


def rows_of(records, verdicts):
    return [
        ResultRow(
            filename=f"/somewhere/else/{place:05d}/samples/{k:04d}.png",
            tag=record["tag"],
            prompt=record["prompt"],
            correct=bool(verdicts[place, k]),
            reason="" if verdicts[place, k] else "expected cup>=1, found 0",
            metadata=record,
            details={"cup": [[0.0, 1.0, 2.0, 3.0, 0.5]]} if verdicts[place, k] else {},
        )
        for place, record in enumerate(records)
        for k in range(4)
    ]


@pytest.fixture
def verdicts(tmp_path, records):
    """Write results of a teacher and a student at two steps; return the suite and the verdicts."""
    rng = np.random.default_rng()
    text = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "prompts.jsonl").write_text(text)
    found = {}
    for name, rate in (("teacher", 0.8), ("student-1", 0.4), ("student-4", 0.7)):
        found[name] = rng.random((len(records), 4)) < rate
        rows = rows_of(records, found[name])
        rng.shuffle(rows)  # the official order is that of os.listdir
        (tmp_path / f"{name}.jsonl").write_text(results_text(rows))
    suite = tmp_path / "verdicts.yaml"
    suite.write_text(SUITE)
    return suite, found


def test_the_table_is_that_of_the_verdicts(verdicts, records, tmp_path):
    suite, found = verdicts
    outcome = rcm_bench.run(str(suite), tmp_path / "out")
    assert outcome.whole and outcome.done
    own = outcome.measurements.set_index(["model", "steps", "metric"])["value"]
    tasks = np.array([record["tag"] for record in records])
    cells = {"teacher": ("teacher", 35), "student-1": ("student", 1), "student-4": ("student", 4)}
    for name, cell in cells.items():
        means = {task: found[name][tasks == task].mean() for task in TASKS}
        for task in TASKS:
            assert own[(*cell, task)] == pytest.approx(means[task])
        assert own[(*cell, "overall")] == pytest.approx(np.mean(list(means.values())))
    paired = pd.read_csv(tmp_path / "out/tables/paired.csv").query("metric == 'overall'")
    by_prompt = [
        found["student-4"].mean(1)[tasks == task].mean()
        - found["teacher"].mean(1)[tasks == task].mean()
        for task in TASKS
    ]
    row = paired.query("steps == 4").iloc[0]
    assert row["difference"] == pytest.approx(np.mean(by_prompt)) and row["n_prompts"] == 36
    assert row["difference_low"] < row["difference"] < row["difference_high"]


def test_results_of_several_runs_give_the_grid_of_one(verdicts, tmp_path):
    suite, _ = verdicts
    rcm_bench.run(str(suite), tmp_path / "whole")
    runs = []
    for steps in (1, 4):
        suite.write_text(SUITE.replace("suite: verdicts", f"suite: at-{steps}").replace(
            "steps: [1, 4]", f"steps: [{steps}]"))  # fmt: skip
        runs.append(tmp_path / f"at-{steps}")
        rcm_bench.run(str(suite), runs[-1])
    pages(runs, tmp_path / "joined")
    key = ["metric", "model", "steps"]
    found, expected = (
        pd.read_csv(folder / "tables/paired.csv").sort_values(key).reset_index(drop=True)
        for folder in (tmp_path / "joined", tmp_path / "whole")
    )
    columns = [name for name in expected if name != "protocol"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])


def test_the_official_file_comes_out_again(verdicts, records, tmp_path):
    suite, found = verdicts
    rcm_bench.run(str(suite), tmp_path / "out")
    (path,) = (tmp_path / "out/tables").glob("geneval_teacher_*_35.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["correct"] for row in rows] == [bool(v) for v in found["teacher"].ravel()]
    assert {row["details"] for row in rows if row["correct"]} == {
        json.dumps({"cup": [[0.0, 1.0, 2.0, 3.0, 0.5]]})
    }


def test_the_scorer_is_unknown_and_comparisons_are_not_verified(verdicts, tmp_path):
    suite, _ = verdicts
    outcome = rcm_bench.run(str(suite), tmp_path / "out")
    protocol = json.loads((tmp_path / "out/manifest.json").read_text())["protocol"]
    assert protocol["scorers"]["geneval"]["scorer"] == "not recorded (results as brought)"
    assert any("number format and scorer of teacher and student" in r for r in outcome.remarks)
    against = rcm_bench.compare(tmp_path / "out", tmp_path / "out").against[0]
    doubts = {d.part for d in against.protocol if d.effect == "not verified"}
    assert {"scorer", "seeds", "rewriting"} <= doubts
    suite.write_text(SUITE.replace("{kind: results}}}", '{kind: results, scorer: "mmdet 2.28"}}}'))
    outcome = rcm_bench.run(str(suite), tmp_path / "stated")
    assert not any("and scorer of" in remark for remark in outcome.remarks)


def test_what_is_missing_or_foreign_is_named(verdicts, records, tmp_path):
    suite, found = verdicts
    rows = rows_of(records, found["student-1"])
    (tmp_path / "student-1.jsonl").write_text(results_text(rows[1:]))
    other = official_metadata()[70]
    foreign = replace(
        rows[0], filename="99999/samples/0.png", metadata=other, prompt=other["prompt"]
    )
    twice = rows_of(records, found["student-4"])
    (tmp_path / "student-4.jsonl").write_text(
        results_text([*twice, foreign]) + results_text(twice[3:4]).replace("00000/s", "x/s")
    )
    with pytest.raises(UserError) as caught:
        rcm_bench.plan(str(suite))
    said = str(caught.value)
    assert "student-1.jsonl: correct: no score of 1: prompt 0 " in said
    assert "with 'incomplete: true'" in said
    assert f"student-4.jsonl:145: '{other['prompt']}' of task 'single_object' is no prompt" in said
    assert "student-4.jsonl:146: has the same prompt and number as line 4" in said
    text = SUITE.replace('{steps}.jsonl"', '{steps}.jsonl", incomplete: true')
    suite.write_text(text.replace("steps: [1, 4]", "steps: [1]"))
    outcome = rcm_bench.run(str(suite), tmp_path / "out")
    assert not outcome.whole
    own = outcome.measurements.query("model == 'student' and metric == 'single_object'").iloc[0]
    assert (own["n_samples"], own["n_missing"]) == (23, 1)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("geneval: {detector: {kind: results}}", "geneval: {}",
         "benchmark 'geneval' scores samples, and results bring none. geneval takes results with "
         "'detector: {kind: results}'"),
        ("kind: results, layout: geneval, file: \"student-{steps}.jsonl\"", "kind: fake",
         "benchmark 'geneval' takes scores that were made elsewhere, and this model brings none"),
        ("layout: geneval, file: teacher", "layout: vbench, file: teacher",
         "models.teacher.file: VBench's results need 'prompts: {set: vbench}'"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(verdicts, old, new, expected):
    suite, _ = verdicts
    assert old in SUITE
    suite.write_text(SUITE.replace(old, new).replace("fake}", "fake, sampler: not-recorded}"))
    with pytest.raises(UserError) as caught:
        rcm_bench.plan(str(suite))
    assert expected in str(caught.value)
