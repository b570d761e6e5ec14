import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_report import SMALL, build

from rcm_reports import write_plots, write_tables
from rcm_reports.axes import Scale, focus, log_ticks, spread, ticks
from rcm_reports.formatting import (
    decimals_for,
    decimals_of,
    duration,
    half_interval,
    interval,
    number,
    percent,
    share,
    signed,
    tick_duration,
)
from rcm_reports.page import page_text

NAMES = ["measurements", "paired", "timing"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return build(tmp_path_factory.mktemp("run"), SMALL)


@pytest.fixture
def imageless(tmp_path):
    """Build a run without pictures from changes to the small recipe."""
    return lambda **changes: build(tmp_path, replace(SMALL, images=False, **changes))


def test_files_and_their_order(run, tmp_path):
    written = write_tables(run, tmp_path)
    assert [p.name for p in written] == [f"{n}{s}" for n in NAMES for s in (".csv", ".md", ".tex")]
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_numbers_in_csv_are_exact_and_missing_ones_empty(run, tmp_path):
    seed = np.random.SeedSequence().entropy
    print("seed", seed)
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-300, 300, len(run.measurements))
    values = rng.standard_normal(len(run.measurements)) * scale
    table = run.measurements.assign(value=values, se=math.nan)
    write_tables(replace(run, measurements=table), tmp_path)
    back = pd.read_csv(tmp_path / "measurements.csv", float_precision="round_trip")
    assert list(back.columns) == list(table.columns)
    assert (back["value"].to_numpy() == values).all()
    assert back["se"].isna().all()
    raw = pd.read_csv(tmp_path / "measurements.csv", dtype=str, keep_default_na=False)
    assert set(raw["se"]) == {""}
    assert (back["n_prompts"] == table["n_prompts"]).all()


def test_negative_numbers_are_no_formulas(run, tmp_path):
    write_tables(run, tmp_path)
    back = pd.read_csv(tmp_path / "paired.csv", float_precision="round_trip")
    assert (back["difference"].to_numpy() == run.paired["difference"].to_numpy()).all()
    assert back["tied"].dtype == bool


def test_a_column_of_objects_keeps_numbers_and_gaps(run, tmp_path):
    mixed = run.paired.assign(tied=[None, *run.paired["tied"].tolist()[1:]], p=-0.5)
    write_tables(replace(run, paired=mixed), tmp_path)
    raw = pd.read_csv(tmp_path / "paired.csv", dtype=str, keep_default_na=False)
    assert raw["tied"][0] == "" and raw["tied"][1] in ("True", "False")
    assert set(raw["p"]) == {"-0.5"}


@pytest.mark.long
def test_same_input_same_tables_and_plots(run, tmp_path):
    for writer in (write_tables, write_plots):
        first, second = writer(run, tmp_path / "a"), writer(run, tmp_path / "b")
        assert first and [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


@pytest.mark.long
def test_plots_do_not_depend_on_what_matplotlib_was_told(run, tmp_path):
    import matplotlib as mpl

    first = [p.read_bytes() for p in write_plots(run, tmp_path / "a")]
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": None}):
        second = [p.read_bytes() for p in write_plots(run, tmp_path / "b")]
        assert mpl.rcParams["font.size"] == 30
    assert first == second


@pytest.mark.long
def test_figures_are_vectors_of_one_column_with_their_letters_inside(run, tmp_path):
    long = replace(run, measurements=run.measurements.replace("rcm", "r" * 200),
                   paired=run.paired.replace("rcm", "r" * 200))  # fmt: skip
    for which, each in (("plain", run), ("long", long)):
        paths = write_plots(each, tmp_path / which)
        stems = {path.stem for path in paths}
        assert {"steps_geneval_overall", "quality_time", "quality_diversity"} <= stems
        assert len(paths) == 3 * len(stems)
        for path in paths:
            content = path.read_bytes()
            if path.suffix == ".pdf":
                width, height = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", content).groups()
                assert (float(width), float(height)) == (237.6, 180.0)
                assert b"/FontFile2" in content and b"/Type3" not in content
                assert b"CreationDate" not in content
            elif path.suffix == ".svg":
                assert b"<text" not in content and b'width="237.6pt"' in content


def test_markdown_has_every_configuration(run, tmp_path):
    write_tables(run, tmp_path)
    text = (tmp_path / "measurements.md").read_text(encoding="utf-8")
    geneval = text.split("### ")[1]
    rows = [line for line in geneval.splitlines() if line.startswith("|")][2:]
    assert len(rows) == 13
    assert {line.count("|") for line in rows} == {10}
    value = run.measurements.query("metric == 'overall' and benchmark == 'geneval'").iloc[0]
    assert f"| teacher | 16 | {value['value']:.2f} \u00b1 " in text


def test_latex_has_balanced_braces_and_rows(run, tmp_path):
    write_tables(run, tmp_path)
    for name in NAMES:
        text = (tmp_path / f"{name}.tex").read_text(encoding="utf-8")
        body = text.replace(r"\{", "").replace(r"\}", "")
        assert body.count("{") == body.count("}")
        assert text.isascii()
        for part in text.split(r"\begin{tabular}{")[1:]:
            columns = len(part.split("}")[0])
            rows = [line for line in part.splitlines() if line.endswith(r"\\")]
            assert rows and all(line.count(" & ") == columns - 1 for line in rows)
        assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\begin{table}")


def test_no_interval_is_a_bare_value(imageless, tmp_path):
    write_tables(imageless(intervals=False), tmp_path / "tables")
    text = (tmp_path / "tables" / "measurements.md").read_text(encoding="utf-8")
    assert "\u00b1" not in text and "nan" not in text
    assert "no interval" in (tmp_path / "tables" / "paired.md").read_text(encoding="utf-8")


def test_empty_tables_are_written(run, tmp_path):
    empty = replace(run, paired=pd.DataFrame(), timings=run.timings.head(0))
    write_tables(empty, tmp_path)
    assert (tmp_path / "paired.md").read_text() == "No rows.\n"
    assert (tmp_path / "timing.csv").read_text().strip() == ",".join(run.timings.columns)


def test_no_plots_of_nothing(run, tmp_path):
    nothing = replace(
        run, manifest={}, measurements=run.measurements.head(0), paired=run.paired.head(0)
    )
    assert write_plots(nothing, tmp_path / "plots") == []


def test_a_missing_number_is_never_zero():
    nan = math.nan
    assert number(nan, 2) == number(None, 2) == "\u2013"
    assert interval(nan, 1.0, 2) == "no interval" and half_interval(nan, nan, 2) == ""
    assert percent(nan) == duration(nan) == "\u2013"
    assert number(math.inf, 1) == "\u2013"


def test_a_small_number_without_an_interval_is_not_written_as_zero(run):
    assert decimals_of([0.5, 0.0, math.nan]) == decimals_of([]) == 3
    assert decimals_of([0.5, -0.000413]) == 5 and decimals_of([1e-12]) == 6
    key = run.measurements["metric"] == "overall"
    small = run.measurements.assign(low=math.nan, high=math.nan)
    small.loc[key, "value"] = 0.000413
    page = page_text(replace(run, measurements=small))
    assert "0.00041" in page


def test_signs_and_rounding():
    assert signed(-0.0004, 3) == "0.000" and signed(0.0004, 3) == "0.000"
    assert signed(0.5, 2) == "+0.50" and signed(-0.5, 2) == "\u22120.50"
    assert decimals_for([(0.93, 0.95)]) == 3 and decimals_for([(20.0, 30.0)]) == 1
    assert share(4, 32) == "1/8" and share(1, 3) == "1/3" and share(31, 97) == "32\xa0%"
    assert duration(0.00123) == "1.23\xa0ms" and duration(0.0689) == "68.9\xa0ms"
    assert duration(2.5e-6) == "2.50\xa0\u00b5s" and duration(600) == "10.0\xa0min"
    assert tick_duration(0.00505) == "5.05\xa0ms" and tick_duration(0.01) == "10\xa0ms"


def test_axes():
    assert ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert log_ticks(1.5, 60.0) == [2.0, 5.0, 10.0, 20.0, 50.0]
    scale = Scale(1.0, 16.0, 0.0, 400.0, log=True)
    assert [round(scale(2.0**k), 6) for k in range(5)] == [0, 100, 200, 300, 400]
    low, high = focus([0.8, 0.9], [0.1])
    assert low > 0.7, "a point far below must not crush the rest"
    assert focus([0.8, 0.9], [0.78])[0] < 0.78


@pytest.mark.parametrize("positions", [[5.0, 5.0, 5.0], [0.0, 99.0, 100.0], [50.0], []])
def test_labels_are_moved_apart_inside_their_range(positions):
    placed = sorted(spread(positions, 10.0, 0.0, 100.0))
    assert all(0 <= place <= 100 for place in placed)
    assert all(b - a >= 10 - 1e-9 for a, b in zip(placed, placed[1:], strict=False))
