"""The tables for a paper: the layout of rCM's, every number with its interval, and they compile."""

import re
import shutil
import subprocess
from dataclasses import replace

import pandas as pd
import pytest
from hostile_run import hostile_run
from synthetic_report import MODELS, SMALL, Recipe, build

from rcm_reports import document, write_tables

WRAPPER = r"""\documentclass[10pt]{article}
\usepackage{textcomp}
\usepackage[textwidth=6.5in,textheight=9in]{geometry}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return build(tmp_path_factory.mktemp("run"), Recipe(images=False))


def vbench(run):
    """The run with its benchmark renamed to VBench's totals."""
    names = {"overall": "total", "single_object": "quality", "two_object": "semantic",
             "counting": "dynamic_degree", "colors": "color"}  # fmt: skip

    def renamed(frame):
        mine = frame[(frame["benchmark"] == "geneval") & frame["metric"].isin(names)]
        return mine.assign(benchmark="vbench", metric=mine["metric"].map(names))

    metrics = {f"vbench.{name}": {"title": name.replace("_", " ").capitalize(), "unit": "score",
               "higher_is_better": True, "headline": name == "total"}
               for name in names.values()}  # fmt: skip
    manifest = {**run.manifest, "metrics": metrics, "protocol": {"frames": 81}}
    for size, name in ((1_300_000_000, "teacher"), ("14B", "rcm"), (340_000, "scm")):
        manifest["models"] = {**manifest["models"], name: {"params": size}}
    return replace(run, manifest=manifest, measurements=renamed(run.measurements),
                   paired=renamed(run.paired))  # fmt: skip


def rows(text, label):
    table = text.split(rf"\label{{tab:{label}}}")[1].split(r"\bottomrule")[0]
    return [line.removesuffix(r" \\").split(" & ") for line in table.splitlines()
            if line.endswith(r"\\") and " & " in line]  # fmt: skip


def test_geneval_as_in_table_1(run):
    head, *body = rows(document(run, "latex"), "geneval")
    assert [re.sub(r"\\shortstack\[r\]|[{}]| \\\\", "", cell) for cell in head] == [
        *("Model", "Steps", "NFE", "Overall", "Single object", "Two object"),
        *("Counting", "Colors", "Position", "Color attr"),
    ]
    assert body[0][:3] == ["teacher", "16", "32"], "the reference stands first"
    assert [row[1] for row in body] == ["16"] + ["4"] * 4 + ["2"] * 4 + ["1"] * 4
    for row in body:
        for cell in row[3:]:
            assert re.fullmatch(r"\d\.\d+\$_\{\\pm \.\d+\}\$(\\rlap\{.*\})?", cell), cell


def test_numbers_intervals_and_ties_are_those_of_the_run(run):
    # Both kinds, whatever was drawn.
    run = replace(run, paired=run.paired.assign(tied=run.paired["steps"].eq(2)))
    _, *body = rows(document(run, "latex"), "geneval")
    cells = {(row[0], int(row[1])): row[3] for row in body}
    overall = run.measurements.query("benchmark == 'geneval' and metric == 'overall'")
    tied = run.paired.query("benchmark == 'geneval' and metric == 'overall'")
    ties = {(r.model, r.steps): r.tied for r in tied.itertuples()}
    assert set(ties.values()) == {True, False}
    for row in overall.itertuples():
        cell = cells[row.model, row.steps]
        value, half = re.match(r"(\d\.\d+)\$_\{\\pm (\.\d+)\}", cell).groups()
        digits = len(half) - 1
        assert float(value) == pytest.approx(row.value, abs=0.51 * 10**-digits)
        assert float(half) == pytest.approx((row.high - row.low) / 2, abs=0.51 * 10**-digits)
        assert cell.endswith(r"\rlap{$^{\mathrm{t}}$}") == ties.get((row.model, row.steps), False)


def test_vbench_as_in_table_2(run):
    changed = vbench(run)
    head, *body = rows(document(changed, "latex"), "vbench")
    plain = [re.sub(r"\\shortstack\[r\]|[{}]| \\\\", "", cell) for cell in head]
    assert plain == ["Model", "Steps", "Params", "NFE", "FPS", "Total", "Quality", "Semantic",
                     "Dynamic degree"]  # fmt: skip
    seconds = run.timings.query("model == 'teacher' and steps == 16")["value"].iloc[0]
    assert body[0][:5] == ["teacher", "16", "1.3B", "32", f"{81 / seconds:.3g}"]
    sizes = {row[0]: row[2] for row in body}
    assert sizes == {"teacher": "1.3B", "rcm": "14B", "scm": "340k", "dmd2": "--"}


def test_what_was_not_measured_is_a_dash_and_never_zero(run):
    few = run.measurements[~((run.measurements["metric"] == "counting")
                             & (run.measurements["model"] == "scm"))]  # fmt: skip
    _, *body = rows(document(replace(run, measurements=few), "latex"), "geneval")
    assert all((row[6] == "--") == (row[0] == "scm") for row in body)


def test_an_empty_run_gives_no_table(run):
    nothing = replace(run, measurements=pd.DataFrame(), paired=pd.DataFrame(), manifest={})
    assert r"\begin" not in document(nothing, "latex")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs")
@pytest.mark.parametrize("which", ["plain", "vbench", "hostile", "tables"])
def test_it_compiles(which, run, tmp_path):
    if which == "tables":
        write_tables(build(tmp_path, replace(SMALL, images=False)), tmp_path)
        text = "\n".join((tmp_path / f"{name}.tex").read_text() for name in
                         ("measurements", "paired", "timing"))  # fmt: skip
    else:
        changed = {"plain": lambda: run, "vbench": lambda: vbench(run),
                   "hostile": lambda: hostile_run(tmp_path)}[which]()  # fmt: skip
        text = document(changed, "latex")
    (tmp_path / "paper.tex").write_text(WRAPPER % text, encoding="ascii")
    done = subprocess.run(
        ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    log = (tmp_path / "paper.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[-2000:]
    assert "Missing character" not in log
    if which in ("plain", "vbench"):
        assert "Overfull" not in log, "it must fit a page of 6.5 inches"
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_many_models_have_rows_of_their_own(tmp_path):
    models = {"teacher": MODELS["teacher"], **{f"m{i}": {2: (0.8, 0.8)} for i in range(9)}}
    run = build(tmp_path, replace(SMALL, images=False, models=models))
    _, *body = rows(document(run, "latex"), "geneval")
    assert len(body) == 4 + 9
