"""Published numbers in a report: in outline, as printed, with their source; text stays text."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from hostile_run import COMMAND, FORMULA, SCRIPT
from parsed_page import Page
from synthetic_report import SMALL, build

from rcm_reports import document, write_tables
from rcm_reports.page import page_text

ROWS = [
    ("overall", "Paper 2B rCM", 4, 0.81, "0.81"),
    ("overall", "Paper 2B rCM", 35, 0.83, "0.83"),
    ("position", "Paper 2B rCM", 4, 0.58, "0.58"),
    ("overall", "Other", 2, 0.7, "0.70"),
]


def published(label=lambda name: name, source="arXiv 0000.00000 Table 1"):
    return pd.DataFrame(
        [
            {"benchmark": "geneval", "metric": metric, "model": label(name), "steps": steps,
             "value": value, "text": text, "source": source, "differs": "resolution 1x1, here 2x2",
             "note": ""}
            for metric, name, steps, value, text in ROWS
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return build(tmp_path_factory.mktemp("run"), replace(SMALL, images=False))


def test_marks_are_hollow_and_nothing_else_changes(run):
    before, after = page_text(run), page_text(replace(run, published=published()))
    assert 'class="mark hollow"' not in before
    filled = 'fill="currentColor" class="mark"'
    assert before.count(filled) == after.count(filled) > 0
    assert before.count('class="whisker"') == after.count('class="whisker"') > 0
    for text in (
        "Paper 2B rCM, 35 steps: 0.83, published (arXiv 0000.00000 Table 1)",
        "Measured otherwise than here: resolution 1x1, here 2x2",
        'Other</bdi> <span class="pill">published</span>',
    ):
        assert text in after and text not in before, text


def test_a_number_of_steps_that_was_not_run_is_drawn_and_has_no_column(run):
    page = page_text(replace(run, published=published()))
    assert '<th scope="col">35 steps</th>' not in page
    assert 'class="tick">35</text>' in page


def test_tables_and_documents_mark_them(run, tmp_path):
    shown = replace(run, published=published())
    write_tables(run, tmp_path / "before")
    write_tables(shown, tmp_path / "after")
    for name in ("measurements.csv", "paired.csv", "paired.md", "timing.csv"):
        before, after = ((tmp_path / d / name).read_bytes() for d in ("before", "after"))
        assert before == after
    for name in ("measurements.md", "measurements.tex"):
        assert "(published, arXiv" in (tmp_path / "after" / name).read_text().replace("\\", "")
    data = json.loads(document(shown, "json"))
    assert [row["value"] for row in data["published"]] == [0.81, 0.83, 0.58, 0.7]
    assert json.loads(document(run, "json"))["published"] == []


def test_names_and_sources_stay_text(run, tmp_path):
    hostile = published(lambda name: f"{name} {SCRIPT} {COMMAND}", FORMULA + SCRIPT)
    shown = replace(run, published=hostile)
    page, plain = Page(page_text(shown)), Page(page_text(replace(run, published=published())))
    assert [tag for tag, _ in page.elements].count("script") == 2 and page.open == []
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}
    write_tables(shown, tmp_path)
    assert "\\input{/etc" not in (tmp_path / "measurements.tex").read_text()
    assert SCRIPT not in (tmp_path / "measurements.md").read_text()


def test_a_table_without_its_columns_is_refused(run):
    with pytest.raises(ValueError, match="table published must have column"):
        replace(run, published=published().drop(columns="source"))
