"""The gates of a suite on the first screen: the outcome in words, and every check below it."""

from dataclasses import replace

import pytest
from hostile_run import SCRIPT
from parsed_page import Page
from synthetic_report import SMALL, build

from rcm_reports.gate import gate_status
from rcm_reports.page import page_text


def check(outcome, model="rcm", reason=""):
    return {"metric": "geneval.overall", "model": model, "steps": 2, "reference": "teacher at 16",
            "unit": "accuracy", "margin": 0.05, "loss": 0.021, "low": -0.01, "high": 0.052,
            "outcome": outcome, "reason": reason}  # fmt: skip


def gate(*outcomes, why=""):
    worst = next((o for o in ("fail", "inconclusive", "pass") if o in outcomes), "inconclusive")
    return {"outcome": worst, "why": why, "checks": [check(outcome) for outcome in outcomes]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (gate("pass", "pass"), "Gate passed: 2 of 2 checks passed."),
        (gate("pass", "fail"), "Gate failed: 1 of 2 checks passed, 1 failed."),
        (
            gate("pass", "inconclusive", "inconclusive"),
            "Gate inconclusive: 1 of 3 checks passed, 2 inconclusive.",
        ),
        (gate(why="no student to judge"), "Gate inconclusive: no student to judge."),
    ],
)
def test_the_outcome_in_words(given, said):
    assert gate_status({"gate": given}).said.replace("\xa0", " ") == said


def test_the_worst_check_stands_first_and_says_by_how_much():
    found = gate_status({"gate": gate("pass", "fail")})
    assert [line.outcome for line in found.lines] == ["fail", "pass"]
    assert found.lines[0].said.replace("\xa0", " ") == (
        "rcm at 2 steps in geneval.overall: loss 0.021 [\u22120.010, 0.052], allowed 0.05"
    )
    assert gate_status({}) is None


def test_the_page_shows_it_beside_the_verdict_and_only_if_there_is_one(tmp_path):
    run = build(tmp_path, replace(SMALL, images=False))
    assert "Gate" not in page_text(run)
    hostile = {"outcome": "fail", "why": "", "checks": [check("fail", SCRIPT, SCRIPT)]}
    gated = replace(run, manifest={**run.manifest, "gate": hostile})
    page = Page(page_text(gated))
    assert page.all("details", class_="gate fail")
    assert page.source.index("Gate failed") < page.source.index('<section id="quality"')
    assert page.text.count(SCRIPT) >= 2 and page.open == []
