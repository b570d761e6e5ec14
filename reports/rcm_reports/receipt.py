"""The protocol and the receipt: what must be equal before two numbers may stand in one column."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rcm_reports.completeness import completeness
from rcm_reports.formatting import DOT, count, number, plural, visible
from rcm_reports.inputs import ReportInput, records
from rcm_reports.study import Study


class Entry(NamedTuple):
    """One line of the receipt."""

    name: str
    value: str


class Part(NamedTuple):
    """Lines that belong together."""

    title: str
    entries: list[Entry]


def build_receipt(report: ReportInput, study: Study) -> list[Part]:
    """Return the receipt, part by part; parts of the manifest that are not there are left out."""
    manifest = report.manifest
    parts = [
        Part("Run", _run(report)),
        Part("Runs", _entries(manifest.get("runs") or {})),
        Part("Protocol", _entries(manifest.get("protocol") or {})),
        Part("Models", _entries(manifest.get("models") or {})),
        Part("Environment", _entries(manifest.get("environment") or {})),
        Part("Statistics", _statistics(report, study)),
    ]
    return [part for part in parts if part.entries]


def command(manifest: Mapping[str, Any]) -> str:
    """Return the command that makes this run again."""
    suite = manifest.get("suite") or {}
    given = (
        manifest.get("command")
        or f"python -m rcm_bench run {suite.get('suite') or suite.get('name') or 'SUITE'}"
    )
    return visible(given, 400)


def _run(report: ReportInput) -> list[Entry]:
    manifest, whole = report.manifest, completeness(report)
    suite = manifest.get("suite") or {}
    entries = [
        ("Suite", suite.get("suite") or suite.get("name")),
        ("Suite digest", manifest.get("suite_digest")),
        ("Protocol fingerprint", manifest.get("protocol_fingerprint")),
        ("Created", manifest.get("created")),
        ("Samples", f"{count(whole.present)} of {count(whole.planned)}"),
    ]
    plan = manifest.get("plan") or {}
    entries += [
        (
            f"Planned {str(key).removeprefix('num_').replace('_', ' ')}",
            count(value) if isinstance(value, int) else value,
        )
        for key, value in plan.items()
        if value is not None
    ]
    return [Entry(visible(name, 80), _text(value)) for name, value in entries if value is not None]


def _entries(tree: Any, path: str = "") -> list[Entry]:
    """Flatten nested mappings to one line per leaf."""
    if not isinstance(tree, Mapping):
        return [Entry(path or "value", _text(tree))]
    entries: list[Entry] = []
    for key, value in tree.items():
        if value is None:
            continue
        name = visible(key, 80).replace("_", " ")
        entries += _entries(value, f"{path} {DOT} {name}" if path else name)
    return entries


def _text(value: Any) -> str:
    if isinstance(value, float):
        return visible(f"{value:.10g}")
    if isinstance(value, (list, tuple)):
        return visible(", ".join(_text(each) for each in value), 1200)
    if isinstance(value, Mapping):
        return visible(", ".join(f"{key}: {_text(each)}" for key, each in value.items()), 1200)
    return visible(value, 1200)


def _statistics(report: ReportInput, study: Study) -> list[Entry]:
    entries = []
    for column, name in (("method", "Interval method"), ("population", "Population")):
        for table in (report.measurements, report.paired):
            if column in table.columns:
                seen = sorted(
                    {
                        visible(row[column], 300)
                        for row in records(table)
                        if isinstance(row[column], str)
                    }
                )
                entries += [Entry(name, value) for value in seen]
    if study.reference is not None:
        steps = plural(study.reference.steps, "step")
        entries.append(Entry("Reference", f"{study.label(study.reference.series)} at {steps}"))
    for cell, nfe in study.nfe.items():
        name = (
            f"Network evaluations {DOT} {study.label(cell.series)} at {plural(cell.steps, 'step')}"
        )
        entries.append(Entry(name, number(nfe, 0)))
    return list(dict.fromkeys(entries))
