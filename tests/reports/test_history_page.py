"""The page of a suite over time: marks only what a test found, and text stays text."""

from dataclasses import replace

import pytest
from hostile_run import LONG, NAMES, SCRIPT, hostile_run
from parsed_page import Page
from synthetic_report import SMALL, build

from rcm_reports.history import Change, HistoryRun, render_history

KEY = ("geneval.overall", "rcm", "consistency", 2)
OTHER = ("geneval.overall", "scm", "consistency", 1)


def entry(run, name, day, changes=None, notes=(), since_first=None):
    manifest = {**run.manifest, "created": f"2026-01-{day:02d}T10:00:00Z"}
    return HistoryRun(
        name=name,
        manifest=manifest,
        measurements=run.measurements,
        changes=changes or {},
        notes=list(notes),
        since_first=since_first or {},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return build(tmp_path_factory.mktemp("run"), replace(SMALL, images=False))


def shown(runs, folder):
    path = render_history(runs, folder)
    return Page(path.read_text(encoding="utf-8"))


def lead(page):
    start = page.source.index('<p class="lead">') + len('<p class="lead">')
    return page.source[start : page.source.index("</p>", start)]


def test_a_regression_is_named_first_and_marked_in_chart_and_table(run, tmp_path):
    changes = {KEY: Change("worse", -0.05, -0.08, -0.02), OTHER: Change("level", 0.01, -0.1, 0.1)}
    page = shown([entry(run, "a", 1), entry(run, "b", 2, changes)], tmp_path)
    assert lead(page) == (
        "Worse than the run before: rcm at 2 steps in Overall"
        " (\u22120.050 [\u22120.080,\xa0\u22120.020])."
    ).replace("Overall", "GenEval")
    assert page.source.count('class="arrow worse"') == 1
    assert page.source.count('<td class="worse">') == 1
    assert page.source.count('<td class="level">') == 1
    assert "better" not in "".join(a.get("class", "") for a in page.all("td"))


def test_nothing_beyond_chance_is_said(run, tmp_path):
    changes = {KEY: Change("level", -0.05, -0.1, 0.1), OTHER: Change("same", 0.0, 0.0, 0.0)}
    page = shown([entry(run, "a", 1), entry(run, "b", 2, changes)], tmp_path)
    assert lead(page).replace("\xa0", " ") == (
        "Nothing got worse or better in the last run by more than chance: "
        "1 number tested, 1 number on the very same samples."
    )
    assert "arrow" not in "".join(a.get("class", "") for a in page.all("text"))


def test_a_slow_fall_is_told_against_the_first_run(run, tmp_path):
    level = {KEY: Change("level", -0.01, -0.03, 0.01)}
    fallen = {KEY: Change("worse", -0.04, -0.06, -0.02)}
    runs = [entry(run, "a", 1), entry(run, "b", 2, level),
            entry(run, "c", 3, level, since_first=fallen)]  # fmt: skip
    assert "Worse than on 2026-01-01: rcm at 2 steps in GenEval" in lead(shown(runs, tmp_path))


def test_protocols_that_differ_are_said_and_break_the_line(run, tmp_path):
    whole = {KEY: Change("level", 0.0, -0.1, 0.1)}
    runs = [entry(run, "a", 1), entry(run, "b", 2), entry(run, "c", 3, whole)]
    page = shown(runs, tmp_path)
    assert "b (2026-01-02 10:00) is not compared with the run before" in page.text
    lines = page.source.count("<polyline")
    assert lines == 1, "only rcm at 2 steps, from b to c"


def test_what_changed_stands_with_its_run(run, tmp_path):
    notes = ["weights of rcm: 0123 before, 4567 now"]
    page = shown([entry(run, "a", 1), entry(run, "b", 2, notes=notes)], tmp_path)
    assert notes[0] in page.text and "it is the first here" in page.text


def test_it_is_static_deterministic_and_complete(run, tmp_path):
    runs = [entry(run, "a", 1), entry(run, "b", 2, {KEY: Change("level", 0.0, -0.1, 0.1)})]
    page, again = shown(runs, tmp_path / "1"), shown(runs, tmp_path / "2")
    assert page.source == again.source
    assert page.open == [] and not page.all("script") and not page.all("img")
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)
    overall = run.measurements.query("benchmark == 'geneval' and metric == 'overall'")
    for value in overall["value"]:
        assert f">{value:.3f} " in page.source
    assert str(run.run_dir) not in page.source


def test_hostile_text_stays_text(run, tmp_path):
    evil = hostile_run(tmp_path / "evil")
    key = ("geneval.overall", NAMES["scm"], "consistency", 2)
    worse = {key: Change("worse", -0.1, -0.2, -0.05)}
    pages = [
        shown([entry(each, name, 1), entry(each, name, 2, changes, [note])], tmp_path / "page")
        for each, name, changes, note in ((run, "a", {KEY: worse[key]}, "x"),
                                          (evil, SCRIPT + LONG, worse, SCRIPT + LONG))
    ]  # fmt: skip
    plain, hostile = ({tag for tag, _ in page.elements} for page in pages)
    assert hostile <= plain
    assert SCRIPT in pages[1].text and "M" * 400 not in pages[1].source
    assert "\u202e" not in pages[1].source
