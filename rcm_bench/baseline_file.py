"""A run's numbers as one small file: sums per prompt, so that a later run can be paired with it.

Canonical JSON in one line, its own digest in it. Prompts and strata go by number; a column that
holds one value is written once, and so are the places of a metric's rows, which most
configurations share. Of zeros and ones the variance over seeds follows from their sum.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rcm_bench.baseline_schema import BaselineFile, MetricEntry, RowsEntry
from rcm_bench.canonical import canonical_json, digest_of
from rcm_bench.errors import UserError
from rcm_bench.evidence import CellKey, CellState, Evidence, Metric, run_evidence
from rcm_bench.measured import Measured
from rcm_bench.suite_faults import validate
from rcm_bench.types import MetricInfo, Reference

FORMAT = "rcm-bench-baseline"
VERSION = 1
MAX_BYTES = 200_000_000
_NUMBERS = ("numerator", "denominator", "within", "n_samples", "n_missing")


def read_evidence(path: str | Path) -> Evidence:
    """Read one side of a comparison: a run folder, or a baseline file.

    Raises:
        UserError: It is neither, or it is damaged.
    """
    if not Path(path).exists():
        raise UserError(f"{path}: no such run folder or baseline file")
    return read_baseline(Path(path)) if Path(path).is_file() else run_evidence(path)


def write_baseline(evidence: Evidence, out: Path) -> None:
    """Write a run's numbers as a baseline file.

    Raises:
        UserError: The run is limited or incomplete, or the file cannot be written.
    """
    if not evidence.whole:
        raise UserError(
            f"{evidence.label}: is limited or incomplete; a baseline must be whole. See what is "
            "missing with: status"
        )
    body = _body(evidence)
    content = {"format": FORMAT, "version": VERSION, "digest": digest_of(body), **body}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(canonical_json(content) + "\n", encoding="utf-8")
    except OSError as fault:
        raise UserError(f"{out}: cannot be written ({fault.strerror}: {fault.filename})") from None


def _body(evidence: Evidence) -> dict[str, Any]:
    return {
        "suite": evidence.suite,
        "protocol": dict(evidence.protocol),
        "models": {name: dict(model) for name, model in evidence.models.items()},
        "circumstances": dict(evidence.circumstances),
        "reference": asdict(evidence.reference),
        "prompts": dict(evidence.prompts),
        "cells": [
            {**key._asdict(), **asdict(state), "unscored": dict(state.unscored)}
            for key, state in evidence.cells.items()
        ],
        "metrics": [
            {
                "name": name,
                "info": asdict(metric.info),
                "kind": metric.measured.kind,
                "ratio": metric.measured.ratio,
                "components": list(metric.measured.components),
                **_spell_rows(metric.measured, evidence),
            }
            for name, metric in evidence.metrics.items()
        ],
    }


def _spell_rows(measured: Measured, evidence: Evidence) -> dict[str, Any]:
    strata = sorted(set(measured.rows["stratum"]))
    places = {
        "prompt": _numbering(sorted(evidence.prompts)),
        "stratum": _numbering(strata),
        "component": _numbering(measured.components),
    }
    layouts: list[dict[str, Any]] = []
    spelled = []
    for number, key in enumerate(evidence.cells):
        rows = measured.rows
        own = rows[(rows["model"] == key.model) & (rows["steps"] == key.steps)]
        own = own[own["sampler"] == key.sampler].sort_values(["prompt_id", "component"])
        if not len(own):
            continue
        titles = {"prompt": "prompt_id", "stratum": "stratum", "component": "component"}
        layout = {n: _folded([places[n][name] for name in own[titles[n]]]) for n in titles}
        if layout not in layouts:
            layouts.append(layout)
        numbers = {name: _folded([_plain(x) for x in own[name]]) for name in _NUMBERS}
        if measured.kind == "proportion":
            numbers["within"] = None
        spelled.append({"cell": number, "places": layouts.index(layout), **numbers})
    return {"strata": strata, "places": layouts, "rows": spelled}


def _numbering(names: Any) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _plain(value: float) -> float | int | None:
    """Spell whole numbers without a point, and NaN, which JSON does not know, as null."""
    number = float(value)
    if np.isnan(number):
        return None
    return int(number) if number.is_integer() else number


def _folded(column: list[Any]) -> Any:
    return column[0] if all(value == column[0] for value in column) else column


def read_baseline(path: Path) -> Evidence:
    """Read a baseline file; nothing in it is trusted.

    Raises:
        UserError: It cannot be read, is no baseline, of another version, or damaged.
    """
    content = _parsed(path)
    version = content.pop("version", None)
    if version != VERSION:
        raise UserError(
            f"{path}: expected a baseline of version {VERSION}, got {version!r}; write it again "
            "with this version of rcm_bench"
        )
    if content.pop("digest", None) != _digest(content):
        raise UserError(f"{path}: damaged: its content does not have the digest that it names")
    file = validate(BaselineFile, content, lambda _: str(path))
    try:
        return _evidence(file, str(path))
    except (IndexError, ValueError) as fault:
        raise UserError(f"{path}: damaged: {fault}") from None


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: expected at most {MAX_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror})") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: damaged, or not a baseline file: it is no JSON") from None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise UserError(f"{path}: not a baseline file; write one with: baseline RUN --out FILE")
    return content


def _digest(content: dict[str, Any]) -> str | None:
    try:
        return digest_of(content)
    except (ValueError, RecursionError):  # an infinity, or a lone surrogate: never written by us
        return None


def _evidence(file: BaselineFile, label: str) -> Evidence:
    keys = [CellKey(cell.model, cell.sampler, cell.steps) for cell in file.cells]
    if strangers := sorted({key.model for key in keys} - file.models.keys()):
        raise ValueError(f"nothing is said of model '{strangers[0]}'")
    prompts = sorted(file.prompts)
    return Evidence(
        label=label,
        suite=file.suite,
        protocol=file.protocol.model_dump(),
        models={name: model.model_dump() for name, model in file.models.items()},
        circumstances=file.circumstances,
        reference=Reference(model=file.reference.model, steps=file.reference.steps),
        prompts=file.prompts,
        cells={
            key: CellState(
                samples=cell.samples,
                planned=cell.planned,
                unsampled=cell.unsampled,
                unscored=cell.unscored,
            )
            for key, cell in zip(keys, file.cells, strict=True)
        },
        metrics={
            metric.name: Metric(
                info=MetricInfo(**metric.info.model_dump()),
                measured=_measured(metric, keys, prompts),
            )
            for metric in file.metrics
        },
        timings={},
    )


def _measured(metric: MetricEntry, keys: list[CellKey], prompts: list[str]) -> Measured:
    parts = [_read_rows(rows, metric, keys[rows.cell], prompts) for rows in metric.rows]
    names = ("model", "sampler", "steps", "prompt_id", "stratum", "component", *_NUMBERS)
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(names))
    if table.duplicated(["model", "sampler", "steps", "prompt_id", "component"]).any():
        raise ValueError("a prompt comes twice")
    return Measured(
        rows=table, components=tuple(metric.components), kind=metric.kind, ratio=metric.ratio
    )


def _read_rows(
    rows: RowsEntry, metric: MetricEntry, key: CellKey, prompts: list[str]
) -> pd.DataFrame:
    layout = metric.places[rows.places]
    columns = {name: getattr(layout, name) for name in ("prompt", "stratum", "component")}
    columns |= {name: getattr(rows, name) for name in _NUMBERS}
    lengths = {len(column) for column in columns.values() if isinstance(column, list)} or {1}
    if len(lengths) > 1:
        raise ValueError(f"columns of unequal lengths {sorted(lengths)}")
    (length,) = lengths
    whole = {
        name: column if isinstance(column, list) else [column] * length
        for name, column in columns.items()
    }
    named: Mapping[str, tuple[str, Callable[[int], str]]] = {
        "prompt": ("prompt_id", prompts.__getitem__),
        "stratum": ("stratum", metric.strata.__getitem__),
        "component": ("component", metric.components.__getitem__),
    }
    table = pd.DataFrame(
        {
            **dict(zip(("model", "sampler", "steps"), key, strict=True)),
            **{title: [name(i) for i in whole[part]] for part, (title, name) in named.items()},
            **{name: np.array(whole[name], dtype=np.float64) for name in _NUMBERS},
        }
    )
    return table.assign(within=_binary_within(table)) if metric.kind == "proportion" else table


def _binary_within(table: pd.DataFrame) -> "pd.Series[float]":
    """Return K s^2 of n ones among K: n (K - n) / (K - 1); NaN for one seed."""
    ones, seeds = table["numerator"], table["denominator"]
    return ones * (seeds - ones) / (seeds - 1).where(seeds > 1)
