import json
import re
from collections import Counter

import pandas as pd
import pytest
from evil_run import EVIL
from evil_run import evil_run as make_evil_run
from parsed_page import Page
from synthetic_report import SMALL, build

from rcm_reports import write_plots, write_tables
from rcm_reports.escaping import csv_text, latex, markdown
from rcm_reports.formatting import visible
from rcm_reports.page import page_text


@pytest.fixture(scope="module")
def evil_run(tmp_path_factory):
    return make_evil_run(tmp_path_factory.mktemp("evil"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return Page(page_text(build(tmp_path_factory.mktemp("plain"), SMALL)))


@pytest.fixture(scope="module")
def evil_page(evil_run):
    return Page(page_text(evil_run))


def test_hostile_text_adds_no_element_and_no_attribute(page, evil_page):
    assert evil_page.open == []
    assert {tag for tag, _ in evil_page.elements} <= {tag for tag, _ in page.elements}
    plain = {name for _, attributes in page.elements for name in attributes}
    assert {name for _, a in evil_page.elements for name in a} <= plain
    counts = Counter(tag for tag, _ in evil_page.elements)
    assert counts["script"] == 2 and counts["style"] == 1
    assert "<!--" not in evil_page.source


def test_hostile_text_is_readable_as_text(evil_page):
    for text in (EVIL[0], EVIL[1], EVIL[3], "{{ 7*7 }}", "\u05d0\u05d1\u05d2"):
        assert text in evil_page.text
    assert "49" not in [data.strip() for _, data in evil_page.texts]
    assert "\U0001f984\u200d\U0001f308" in evil_page.text


def test_nothing_invisible_turns_text_around(evil_page):
    bad = re.compile("[\x00-\x08\x0b-\x1f\u2028-\u202e\u2066-\u2069\u200e\u200f\ud800-\udfff]")
    assert not bad.search(evil_page.source)
    assert "\u2039U+202E\u203a" in evil_page.text


def test_long_text_is_cut_and_says_so(evil_page):
    assert "x" * 700 not in evil_page.source
    assert "(10,000 characters)" in evil_page.text


def test_inlined_json_cannot_end_its_element(evil_page):
    body = re.search(
        r'<script type="application/json" id="shots">(.*?)</script>', evil_page.source, re.S
    ).group(1)
    assert not set("<>&\u2028\u2029") & set(body)
    assert any(EVIL[3] in str(shot[10]) for shot in json.loads(body)["samples"])


def test_a_policy_of_the_page_is_not_touched_by_text(page, evil_page):
    def policy(each: Page) -> str:
        return each.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]

    assert policy(page) == policy(evil_page)


@pytest.mark.long
def test_tables_and_plots_take_hostile_names(evil_run, tmp_path):
    for path in [*write_tables(evil_run, tmp_path), *write_plots(evil_run, tmp_path)]:
        assert path.parent == tmp_path
        content = path.read_bytes()
        assert b"\x00" not in content or path.suffix in (".png", ".pdf")
    csv = pd.read_csv(tmp_path / "measurements.csv")
    assert len(csv) == len(evil_run.measurements)
    assert "'=cmd|'/c calc'!A1\n</style>" in set(csv["model"])
    text = (tmp_path / "measurements.md").read_text(encoding="utf-8")
    assert "<script" not in text.replace("\\<", "")
    svg = (tmp_path / "steps_geneval_overall.svg").read_text(encoding="utf-8")
    assert "<script" not in svg and "onerror" not in re.sub(r"<!--.*?-->", "", svg)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "  =", " @"])
def test_formulas_are_guarded_in_csv(start):
    assert csv_text(start + "1+1").startswith("'")


def test_plain_text_is_left_alone_in_csv():
    assert csv_text("a photo of a red circle = nice") == "a photo of a red circle = nice"
    assert csv_text("") == ""


def test_markdown_text_stays_one_cell():
    assert markdown("a|b\nc") == "a\\|b \u23ce c"
    assert markdown("[x](javascript:1)<b>") == "\\[x\\]\\(javascript\\:1\\)\\<b\\>"


def test_latex_text_stays_text():
    assert latex("50% & $x_1$ {a} #2 ~^\\") == (
        r"50\% \& \$x\_1\$ \{a\} \#2 \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert latex("a--b---c") == "a-{}-b-{}-{}-c"
    assert latex("\u00e9") == r"\texttt{U+00E9}"


def test_visible_names_what_cannot_be_seen():
    assert visible("a\u202eb") == "a\u2039U+202E\u203ab"
    assert visible("a\r\nb") == "a \u23ce b"
    assert visible("abcdef", 3) == "abc\u2026 (6 characters)"
