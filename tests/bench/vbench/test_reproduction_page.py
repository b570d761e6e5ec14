"""The page of the reproduction kit: its tables are those that the command makes."""

from pathlib import Path

import pytest

from rcm_bench.errors import UserError
from rcm_bench.statistics.vbench_dimensions import DIMENSIONS
from rcm_bench.suite_load import load_suite
from rcm_bench.vbench import reproduction

PAGE = Path(__file__).parents[3] / "docs" / "reproduce_wan.md"


def test_the_committed_tables_are_current():
    page = PAGE.read_text(encoding="utf-8")
    assert page == reproduction.written(page), (
        "write it again: python -m rcm_bench.vbench.reproduction"
    )


def test_tables_by_hand():
    """Numbers worked out apart from the code that makes them."""
    stages = {stage.title[0]: stage.videos for stage in reproduction.stages()}
    assert stages == {"1": 72, "2": 360, "3": 5 * (72 + 86 + 93) + 25 * 75, "4": 944 * 5 + 75 * 20}
    first = reproduction.stage_table().splitlines()[3]
    assert f"| {360 * 81 / 0.72 / 3600:.1f} | {360 * 81 / 14.6 / 3600:.1f} |" in first
    row = next(r for r in reproduction.dimension_table().splitlines() if "`human_action`" in r)
    assert f"| 100 | 500 | {500 * 81 / 0.72 / 3600:.1f} |" in row
    assert f"| {1.959964 * (2 * 0.25 / 500) ** 0.5:.3f} |" in row
    assert row.endswith(f"| {1.959964 * (2 * 0.95 * 0.05 / 100) ** 0.5:.3f} |")
    totals = reproduction.total_table()
    for printed in ("83.02", "83.95", "79.26", "84.43", "84.09", "82.65"):
        assert f"| {printed} |" in totals


def test_each_command_is_a_suite_with_the_dimensions_it_counts():
    for stage in reproduction.stages():
        name = stage.command.split()[-1]
        environment = dict(word.split("=") for word in stage.command.split() if "=" in word)
        suite = load_suite(name, environment).suite
        asked = (suite.benchmarks["vbench"] or {}).get("dimensions") or list(DIMENSIONS)
        assert (suite.prompts.dimensions or list(DIMENSIONS)) == asked
        assert reproduction.num_videos(asked, suite.prompts.samples_per_prompt) == stage.videos
        assert suite.models["teacher"].steps == [50] and suite.steps == [1, 2, 4]


def test_a_page_without_its_marks_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected <!-- stages --> and <!-- end of stages -->"):
        reproduction.written("nothing here")
    page = tmp_path / "page.md"
    marks = "".join(f"<!-- {n} -->\nold\n<!-- end of {n} -->\n" for n in reproduction.TABLES)
    page.write_text(f"before\n{marks}after\n")
    reproduction.main([str(page)])
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert text == reproduction.written(text)
