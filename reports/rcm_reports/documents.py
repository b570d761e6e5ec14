"""A report as one document of text: Markdown, LaTeX, CSV or JSON."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from rcm_reports.completeness import completeness
from rcm_reports.escaping import markdown
from rcm_reports.inputs import ReportInput, records
from rcm_reports.paper_tables import paper_tables
from rcm_reports.receipt import build_receipt, command
from rcm_reports.study import Study, build_study
from rcm_reports.tables import csv_table, markdown_tables
from rcm_reports.throughput import throughput_lead, throughput_markdown, throughput_table
from rcm_reports.verdict import Verdict, verdict

JSON_SCHEMA = "rcm_bench.report/1"
KEY = ["benchmark", "metric", "model", "sampler", "steps"]


def document(report: ReportInput, kind: str) -> str:
    """Return a report as one document.

    Args:
        report: The receipt and the tables of the run.
        kind: One of DOCUMENTS.
    """
    return DOCUMENTS[kind](report, build_study(report))


def as_csv(report: ReportInput, _: Study) -> str:
    """Return one row for each measurement, its difference to the reference in the same row.

    Times follow at the end. Numbers are exact, and what is missing is an empty cell.
    """
    table = report.measurements
    if len(report.paired):
        new = [name for name in report.paired.columns if name not in table.columns]
        table = table.merge(report.paired[KEY + new], on=KEY, how="left", validate="one_to_one")
    times = report.timings.rename(columns={"n": "n_samples"})
    parts = [part for part in (table, times) if len(part)]
    return csv_table(pd.concat(parts, ignore_index=True) if parts else table)


def as_json(report: ReportInput, study: Study) -> str:
    """Return everything that the page says in words and numbers; what is missing is null."""
    whole = completeness(report)
    found = verdict(study, whole, throughput_lead(report))
    manifest = {key: value for key, value in report.manifest.items() if key != "frozen"}
    data = {
        "schema": JSON_SCHEMA,
        "verdict": {
            "lead": found.lead,
            "steps": [
                {
                    "steps": rung.steps,
                    "words": rung.words,
                    "standings": [
                        {"model": each.label, "share": each.text, "remark": each.remark}
                        for each in rung.standings
                    ],
                }
                for rung in found.rungs
            ],
            "caveats": list(found.caveats),
        },
        "complete": whole.whole,
        "samples": {"planned": whole.planned, "present": whole.present},
        "failures": whole.failures,
        "measurements": records(report.measurements),
        "paired": records(report.paired),
        "timings": records(report.timings),
        "published": records(report.published),
        "throughput": records(report.throughput),
        "manifest": manifest,
    }
    return json.dumps(_plain(data), indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def as_latex(_: ReportInput, study: Study) -> str:
    """Return the tables for a paper."""
    return paper_tables(study)


def as_markdown(report: ReportInput, study: Study) -> str:
    """Return verdict, tables and receipt."""
    suite = report.manifest.get("suite") or {}
    parts = [
        f"# {markdown(suite.get('suite') or 'run')}",
        _words(verdict(study, completeness(report), throughput_lead(report))),
    ]
    parts += ["## Measurements", markdown_tables(report, "measurements")]
    parts += ["## Differences to the reference", markdown_tables(report, "paired")]
    if len(report.timings):
        parts += ["## Times", markdown_tables(report, "timing")]
    if (rates := throughput_table(report)) is not None:
        parts += ["## Throughput", throughput_markdown(rates)]
    parts += ["## Protocol and receipt", f"`{command(report.manifest).replace('`', '')}`"]
    for part in build_receipt(report, study):
        lines = [f"- {markdown(line.name)}: {markdown(line.value)}" for line in part.entries]
        parts += [f"### {markdown(part.title)}", "\n".join(lines)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _words(found: Verdict) -> str:
    lines = [markdown(found.lead), ""]
    for rung in found.rungs:
        standings = ", ".join(
            f"{each.label} {each.text}{f' ({each.remark})' if each.remark else ''}"
            for each in rung.standings
        )
        lines.append(f"- **{rung.steps}**: {markdown(f'{rung.words} {standings}.'.strip())}")
    lines += [f"- {markdown(caveat)}" for caveat in found.caveats]
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Return a value of JSON: numpy's numbers as Python's, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return None if value is pd.NA or value is pd.NaT else str(value)


DOCUMENTS: Mapping[str, Callable[[ReportInput, Study], str]] = {
    "csv": as_csv,
    "json": as_json,
    "latex": as_latex,
    "markdown": as_markdown,
}
