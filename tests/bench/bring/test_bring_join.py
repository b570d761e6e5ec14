"""Runs of brought sets in one report: one paired grid, doubts told, conflicts refused by name."""

import json
import shutil

import pandas as pd
import pytest
from brought_folders import SUITE

import rcm_bench
from rcm_bench.errors import UserError
from rcm_bench.verbs.report import document, pages

FIRST = SUITE.replace("steps: [1, 2]", "steps: [1]")
OTHER = SUITE.replace("suite: bring", "suite: other").replace("steps: [1, 2]", "steps: [2]")
ALONE = "\n".join(line for line in OTHER.split("\n") if "role: teacher" not in line).replace(
    "student: {kind: folder,", "student: {kind: folder, role: teacher,"
)
"""A suite of one set: its teacher by rule is the student."""


def run(tmp_path, text, name):
    path = tmp_path / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    rcm_bench.run(str(path), tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("second", [OTHER, ALONE])
def test_brought_runs_give_the_grid_of_one_run(bring, tmp_path, second):
    bring()
    whole = run(tmp_path, SUITE, "whole")
    runs = [run(tmp_path, FIRST, "first"), run(tmp_path, second, "second")]
    pages(runs, tmp_path / "joined")
    key = ["benchmark", "metric", "model", "steps"]
    for table in ("paired", "measurements"):
        found, expected = (
            pd.read_csv(folder / "tables" / f"{table}.csv").sort_values(key).reset_index(drop=True)
            for folder in (tmp_path / "joined", whole)
        )
        columns = [name for name in expected if name != "protocol"]
        pd.testing.assert_frame_equal(found[columns], expected[columns])
    said = pd.read_csv(tmp_path / "joined/tables/paired.csv")["method"]
    assert said.str.contains("not verified: protocol not recorded").all()


def test_what_is_recorded_and_differs_is_refused_with_the_reason(bring, tmp_path):
    bring()
    rewritten = "layout: geneval, recorded: {{rewriting: {}, seeds: 'i'}},"
    runs = [
        run(tmp_path, text.replace("layout: geneval,", rewritten.format(who)), name)
        for text, who, name in ((FIRST, "nobody", "first"), (OTHER, "gpt-4o", "second"))
    ]
    with pytest.raises(UserError) as caught:
        document(runs, "csv")
    said = str(caught.value)
    assert "rewriting: nobody in" in said and "gpt-4o here (the models were given other words)" in (
        said
    )
    assert "seeds" not in said and "noise" not in said


def test_other_files_under_one_name_are_two_models(bring, tmp_path):
    bring()
    first = run(tmp_path, FIRST, "first")
    shutil.rmtree(tmp_path / "student/1")
    shutil.copytree(tmp_path / "student/2", tmp_path / "student/1")
    second = run(tmp_path, OTHER.replace("steps: [2]", "steps: [1]"), "second")
    found = json.loads(document([first, second], "json"))
    names = {row["model"] for row in found["measurements"]}
    assert names == {"teacher", "student (bring)", "student (other)"}
    (between,) = [r for r in found["manifest"]["remarks"] if r.startswith("Not verified between")]
    assert between.startswith("Not verified between bring and other: ") and "seeds" in between
