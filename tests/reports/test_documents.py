"""One report as Markdown, LaTeX, CSV and JSON: complete, deterministic, and text stays text."""

import csv
import io
import json
import math
import re
from dataclasses import replace

import pandas as pd
import pytest
from hostile_run import COMMAND, FORMULA, LONG, NAMES, SCRIPT, hostile_run
from markdown_it import MarkdownIt  # comes with rich
from synthetic_report import SMALL, build

from rcm_reports import DOCUMENTS, document

KEY = ["benchmark", "metric", "model", "sampler", "steps"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return build(tmp_path_factory.mktemp("run"), replace(SMALL, images=False))


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    return hostile_run(tmp_path_factory.mktemp("evil"))


@pytest.mark.parametrize("kind", ["csv", "json", "latex", "markdown"])
def test_documents_are_deterministic_and_name_no_folder(kind, run):
    text = document(run, kind)
    assert text == document(run, kind) and text.endswith("\n")
    assert str(run.run_dir) not in text
    assert set(DOCUMENTS) == {"csv", "json", "latex", "markdown"}


def test_json_has_a_schema_and_every_number(run):
    data = json.loads(document(run, "json"))
    assert data["schema"] == "rcm_bench.report/1"
    assert set(data) == {"schema", "verdict", "complete", "samples", "failures", "measurements",
                         "paired", "timings", "published", "throughput",
                         "manifest"}  # fmt: skip
    back = pd.DataFrame(data["measurements"])
    assert (back["value"].to_numpy() == run.measurements["value"].to_numpy()).all()
    assert data["complete"] is True and data["samples"] == {"planned": 312, "present": 312}
    assert data["verdict"]["steps"][0]["words"].startswith(("Best: ", "No clear best: "))
    assert "frozen" not in data["manifest"]


def test_json_writes_what_is_missing_as_null(run):
    changed = run.measurements.assign(value=math.nan, high=math.inf)
    changed = replace(run, measurements=changed, paired=run.paired.assign(tied=None))
    text = document(changed, "json")
    assert "NaN" not in text and "Infinity" not in text
    row = json.loads(text)["measurements"][0]
    assert row["value"] is None and row["high"] is None
    assert json.loads(text)["paired"][0]["tied"] is None


def test_csv_has_measurement_and_difference_in_one_row_and_times_after(run):
    back = pd.read_csv(io.StringIO(document(run, "csv")), float_precision="round_trip")
    assert len(back) == len(run.measurements) + len(run.timings)
    first = back.head(len(run.measurements))
    assert (first["value"].to_numpy() == run.measurements["value"].to_numpy()).all()
    joined = first.merge(run.paired, on=KEY, suffixes=("", "_given"))
    assert len(joined) == len(run.paired)
    assert (joined["difference"] == joined["difference_given"]).all()
    assert set(back.tail(len(run.timings))["benchmark"]) == {"latency"}


def test_csv_without_pairs_or_times(run):
    bare = replace(run, paired=run.paired.head(0), timings=run.timings.head(0))
    assert len(pd.read_csv(io.StringIO(document(bare, "csv")))) == len(run.measurements)


def test_markdown_has_verdict_tables_and_receipt(run):
    text = document(run, "markdown")
    assert text.startswith("# quickstart\n")
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads == ["## Measurements", "## Differences to the reference", "## Times",
                     "## Protocol and receipt"]  # fmt: skip
    assert "| rcm | 2 |" in text and " tie |" in text
    assert "- **2 steps**: " in text


def test_what_could_not_be_tested_is_said(run):
    text = document(replace(run, paired=run.paired.assign(tied=None)), "markdown")
    assert " too few prompts to tell |" in text and " tie |" not in text


def test_hostile_names_stay_text_in_csv(evil):
    rows = list(csv.DictReader(io.StringIO(document(evil, "csv"))))
    assert len(rows) == len(evil.measurements) + len(evil.timings)
    models = {row["model"] for row in rows}
    assert f"'{FORMULA}" in models and FORMULA not in models
    assert LONG in models and COMMAND in models, "what is no formula comes back as it was"
    for row in rows:
        for value in row.values():
            assert not value.startswith(("=", "+", "@", "\t", "\r"))


def test_hostile_names_stay_text_in_json(evil):
    data = json.loads(document(evil, "json"))
    assert {row["model"] for row in data["measurements"]} == set(NAMES.values())
    assert document(evil, "json").isascii()


def test_hostile_names_stay_text_in_markdown(evil):
    text = document(evil, "markdown")
    html = MarkdownIt("commonmark").enable("table").render(text)
    tags = set(re.findall(r"<(\w+)", html))
    assert tags == {"h1", "h2", "h3", "p", "ul", "li", "strong", "code",
                    "table", "thead", "tbody", "tr", "th", "td"}  # fmt: skip
    assert html.count("<tr>") == sum(line.startswith("| ") for line in text.splitlines())
    assert "\u202e" not in text and "M" * 200 not in text.split("## Protocol")[0]


def test_hostile_names_stay_text_in_latex(evil):
    text = document(evil, "latex")
    assert text.isascii() and r"\input{" not in text and SCRIPT not in text
    assert "M" * 40 not in text, "a long name must not push the numbers off the page"
    body = text.replace(r"\{", "").replace(r"\}", "")
    assert body.count("{") == body.count("}")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
