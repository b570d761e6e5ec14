"""Tables as files: CSV with every digit, Markdown and LaTeX for people."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from rcm_reports.escaping import csv_text, latex, markdown
from rcm_reports.formatting import (
    DASH,
    MINUS,
    NBSP,
    PLUS_MINUS,
    decimals_for,
    interval,
    known,
    number,
    signed,
)
from rcm_reports.inputs import ReportInput
from rcm_reports.study import Cell, Metric, Study, Value, benchmark_title, build_study
from rcm_reports.throughput import throughput_markdown, throughput_table

Lookup = Callable[[Metric, Cell], str]


class SheetRow(NamedTuple):
    """One configuration: a name that is foreign text, and cells that this file wrote."""

    label: str
    cells: list[str]


class Sheet(NamedTuple):
    """One table for people: a benchmark, its configurations by its metrics."""

    benchmark: str
    title: str
    note: str
    head: list[str]
    groups: list[list[SheetRow]]


def write_tables(report_input: ReportInput, out_dir: Path) -> list[Path]:
    """Write ``measurements``, ``paired`` and ``timing`` as ``.csv``, ``.md`` and ``.tex``.

    Where it was asked for, ``throughput`` follows as ``.csv`` and ``.md``.

    Numbers in the CSV files are exact; a missing number is an empty cell. Text that a spreadsheet
    would take for a formula gets a leading apostrophe.

    Returns:
        The files, in a fixed order.
    """
    study = build_study(report_input)
    out_dir.mkdir(parents=True, exist_ok=True)
    texts = {}
    for name, frame in _frames(report_input).items():
        sheets = _sheets_of(study, name)
        texts[f"{name}.csv"] = csv_table(frame)
        texts[f"{name}.md"] = _markdown(sheets)
        texts[f"{name}.tex"] = _latex(sheets, name)
    if (rates := throughput_table(report_input)) is not None:
        texts["throughput.csv"] = csv_table(report_input.throughput)
        texts["throughput.md"] = throughput_markdown(rates)
    for name, text in texts.items():
        temporary = out_dir / f".{name}.tmp"
        temporary.write_text(text, encoding="utf-8", newline="")
        os.replace(temporary, out_dir / name)
    return [out_dir / name for name in texts]


def markdown_tables(report_input: ReportInput, name: str) -> str:
    """Return one of ``measurements``, ``paired`` and ``timing`` in Markdown."""
    return _markdown(_sheets_of(build_study(report_input), name))


def _frames(report_input: ReportInput) -> dict[str, pd.DataFrame]:
    return {
        "measurements": report_input.measurements,
        "paired": report_input.paired,
        "timing": report_input.timings,
    }


def _sheets_of(study: Study, name: str) -> list[Sheet]:
    if name == "paired":
        return _paired(study)
    return _measured(study, study.values if name == "measurements" else study.timings)


def csv_table(frame: pd.DataFrame) -> str:
    """Return a table as CSV: exact numbers, empty cells, no formulas."""
    guarded = frame.copy()
    guarded.columns = pd.Index([csv_text(str(column)) for column in guarded.columns])
    for column in guarded.columns:
        guarded[column] = (
            guarded[column].map(_cell)
            if guarded[column].dtype.kind not in "ifub"
            else guarded[column]
        )
    buffer = io.StringIO()
    guarded.to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    # A lone surrogate cannot be written as UTF-8.
    return csv_text(value.encode("utf-8", "backslashreplace").decode())


def _measured(study: Study, table: Mapping[tuple[str, Cell], Value]) -> list[Sheet]:
    metrics = _metrics(study, [key for key, _ in table])
    decimals = {metric.key: study.decimals([metric.key]) for metric in metrics}

    def text(metric: Metric, cell: Cell) -> str:
        value = table.get((metric.key, cell))
        if value is None or not known(value.value):
            return DASH
        half = (value.high - value.low) / 2
        around = f" {PLUS_MINUS} {number(half, decimals[metric.key])}" if known(half) else ""
        return number(value.value, decimals[metric.key]) + around

    note = (
        "Value and half the width of its 95 % interval; no half-width where there is no interval."
    )
    return [_with_published(sheet, study, metrics) for sheet in _sheets(study, metrics, text, note)]


def _with_published(sheet: Sheet, study: Study, metrics: Sequence[Metric]) -> Sheet:
    """Add published numbers at the end of their benchmark's table, marked as such."""
    mine = [metric for metric in metrics if metric.benchmark == sheet.benchmark]
    groups = list(sheet.groups)
    for line in study.published:
        label = f"{line.label} (published, {line.source})"
        rows = []
        for steps in sorted({steps for _, steps in line.points}, reverse=True):
            found = [line.points.get((metric.key, steps)) for metric in mine]
            if any(found):
                cells = [DASH if point is None else point.text for point in found]
                rows.append(SheetRow(label, [str(steps), *cells]))
        groups += [rows] if rows else []
    return sheet._replace(groups=groups)


def _paired(study: Study) -> list[Sheet]:
    metrics = _metrics(study, [key for key, _ in study.pairs])
    decimals = {
        m.key: decimals_for((p.low, p.high) for (k, _), p in study.pairs.items() if k == m.key)
        for m in metrics
    }

    def text(metric: Metric, cell: Cell) -> str:
        if cell == study.reference:
            return "reference"
        pair = study.pairs.get((metric.key, cell))
        if pair is None or not known(pair.difference):
            return DASH
        digits = decimals[metric.key]
        around = interval(pair.low, pair.high, digits, sign=True)
        remark = " too few prompts to tell" if pair.tied is None else " tie" if pair.tied else ""
        return f"{signed(pair.difference, digits)} {around}{remark}"

    note = (
        "Difference to the reference with its 95 % interval, paired by prompt; "
        "a tie is not told apart from the reference."
    )
    return _sheets(study, metrics, text, note)


def _metrics(study: Study, keys: Sequence[str]) -> list[Metric]:
    known_metrics = {metric.key: metric for metric in study.metrics}
    ordered = [key for key in known_metrics if key in set(keys)]
    ordered += [key for key in dict.fromkeys(keys) if key not in known_metrics]
    return [known_metrics.get(key) or _unnamed(key) for key in ordered]


def _unnamed(key: str) -> Metric:
    benchmark, _, name = key.partition(".")
    return Metric(
        benchmark=benchmark,
        name=name,
        title=name.replace("_", " "),
        unit="",
        higher_is_better=False,
        about="",
        headline=False,
    )


def _sheets(study: Study, metrics: Sequence[Metric], text: Lookup, note: str) -> list[Sheet]:
    sheets = []
    for benchmark in dict.fromkeys(metric.benchmark for metric in metrics):
        mine = [metric for metric in metrics if metric.benchmark == benchmark]
        groups = []
        for series in study.series:
            rows = [
                SheetRow(study.label(series), [str(cell.steps), *(text(m, cell) for m in mine)])
                for cell in reversed(study.cells(series))
            ]
            rows = [row for row in rows if any(cell != DASH for cell in row.cells[1:])]
            if rows:
                groups.append(rows)
        units = {metric.unit for metric in mine}
        unit = f" ({mine[0].unit})" if len(units) == 1 and mine[0].unit else ""
        heads = [
            m.title if len(units) == 1 or not m.unit else f"{m.title} ({m.unit})" for m in mine
        ]
        title = benchmark_title(benchmark) + unit
        sheets.append(Sheet(benchmark, title, note, ["Model", "Steps", *heads], groups))
    return sheets


def _markdown(sheets: Sequence[Sheet]) -> str:
    parts = []
    for sheet in sheets:
        lines = [f"### {markdown(sheet.title)}", "", sheet.note, ""]
        lines.append(_markdown_row([markdown(head) for head in sheet.head]))
        lines.append("|---|--:|" + "--:|" * (len(sheet.head) - 2))
        rows = [row for group in sheet.groups for row in group]
        lines += [_markdown_row([markdown(row.label), *row.cells]) for row in rows]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts) or "No rows.\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex(sheets: Sequence[Sheet], name: str) -> str:
    head = "% Needs \\usepackage{booktabs}, and {textcomp} with LaTeX from before 2020.\n"
    tables = (_latex_table(s, f"tab:{name}-{place + 1}") for place, s in enumerate(sheets))
    return head + "\n".join(tables)


def _latex_table(sheet: Sheet, label: str) -> str:
    body = " \\midrule\n".join(
        "".join(_latex_row([latex(row.label), *map(_signs, row.cells)]) for row in group)
        for group in sheet.groups
    )
    return (
        "\\begin{table}\n\\centering\n\\small\\setlength{\\tabcolsep}{4pt}\n"
        f"\\caption{{{latex(sheet.title)}. {latex(sheet.note)}}}\n\\label{{{label}}}\n"
        f"\\begin{{tabular}}{{lr{'r' * (len(sheet.head) - 2)}}}\n\\toprule\n"
        f"{_latex_row([latex(head) for head in sheet.head])}\\midrule\n{body}\\bottomrule\n"
        "\\end{tabular}\n\\end{table}\n"
    )


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + " \\\\\n"


def _signs(text: str) -> str:
    """Write the signs that the tables themselves use as mathematics."""
    signs = {PLUS_MINUS: "$\\pm$", MINUS: "$-$", DASH: "--", NBSP: "~"}
    return "".join(signs.get(character, character) for character in text)
