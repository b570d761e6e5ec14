"""Runs against a first run: what may be compared, and the table of paired differences. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from rcm_bench.aggregate import family_of, number_of, with_holm
from rcm_bench.comparability import (
    Difference,
    differences,
    doubts,
    model_differences,
    obstacles,
)
from rcm_bench.errors import UserError, unknown_name
from rcm_bench.evidence import CellKey, Evidence
from rcm_bench.measured import cells
from rcm_bench.pairing import Paired, align, pair

NAN = float("nan")
_FOUND = ("difference", "difference_low", "difference_high", "p", "p_least", "detectable")
COLUMNS = [
    *("run", "benchmark", "metric", "model", "sampler", "steps"),
    *("reference_model", "reference_steps", "value", "reference_value"),
    *("difference", "difference_low", "difference_high"),
    *("p", "p_least", "family", "p_holm", "tied", "detectable"),
    *("n_prompts", "n_unpaired", "n_missing", "unit", "headline"),
    *("verified", "same_samples", "method"),
]


class Against(NamedTuple):
    """One run compared with the first.

    Attributes:
        run: Label of the run.
        protocol: What differs between the two protocols, the gravest first.
        models: What differs between the compared models, by (model, reference model).
        paired: One row for each metric and pair of configurations, columns as in ``COLUMNS``.
        refused: Comparisons that are not printed, each with its reason.
        remarks: What else a reader should know.
    """

    run: str
    protocol: list[Difference]
    models: dict[tuple[str, str], list[Difference]]
    paired: pd.DataFrame
    refused: list[str]
    remarks: list[str]


def compare_sides(first: Evidence, other: Evidence, reference: str | None = None) -> Against:
    """Compare one run with the first.

    Args:
        first: The run that is compared with.
        other: The run in question.
        reference: ``MODEL`` or ``MODEL@STEPS`` of the first run that all configurations are
            compared with; by default each with the one of the same model and steps.

    Raises:
        UserError: No configuration can be matched.
    """
    matched = _matches(first, other, reference)
    protocol = differences(first, other)
    pairs = {(key.model, twin.model) for key, twin in matched}
    models = {
        (mine, theirs): model_differences(first, theirs, other, mine)
        for mine, theirs in sorted(pairs)
    }
    refused: dict[str, None] = {}
    rows = []
    for metric in (name for name in first.metrics if name in other.metrics):
        benchmark = metric.partition(".")[0]
        aligned = align(metric, other, first)
        for key, twin in matched:
            found = [*protocol, *models[key.model, twin.model]]
            if against := obstacles(found, benchmark):
                refused[_refusal(benchmark, against[0])] = None
                continue
            same = other.cells[key].samples == first.cells[twin].samples
            found_pair = pair(aligned, key, twin, other.population, same=same)
            if found_pair is not None:
                row = _row(metric, other, key, first, twin, found_pair)
                known = {"verified": not doubts(found, benchmark), "same_samples": same}
                rows.append({**row, **known})
    columns = [c for c in COLUMNS if c not in ("p_holm", "tied")]
    table = with_holm(pd.DataFrame(rows, columns=columns))
    # The same files differ by nothing; there is nothing to test.
    table["tied"] = table["tied"].mask(table["same_samples"].astype(bool), True)
    return Against(
        run=other.label,
        protocol=protocol,
        models=models,
        paired=table[COLUMNS],
        refused=list(refused),
        remarks=list(_remarks(first, other, matched)),
    )


def reference_of(side: Evidence, text: str, option: str) -> CellKey:
    """Return the configuration that ``MODEL`` or ``MODEL@STEPS`` names.

    Raises:
        UserError: There is no such model, or it has no such number of steps.
    """
    models = {key.model for key in side.cells}
    name, mark, number = text.rpartition("@")
    if text in models or not mark:
        name, number = text, ""
    if name not in models:
        raise unknown_name(option, "model", name, models)
    grid = sorted(key.steps for key in side.cells if key.model == name)
    if number and (not number.isdecimal() or int(number) not in grid):
        shown = ", ".join(map(str, grid))
        raise UserError(f"{option}: model '{name}' has steps {shown}, got '{number}'")
    found = side.cell(name, int(number) if number else grid[-1])
    assert found is not None
    return found


def measurements(side: Evidence) -> pd.DataFrame:
    """Return the headline numbers of one side with their intervals; none where it is not whole."""
    rows = []
    for name, metric in side.metrics.items():
        if metric.measured.kind == "exact" or not metric.info.headline or not side.whole:
            continue
        benchmark, _, title = name.partition(".")
        for key, cell in cells(metric.measured).items():
            found = number_of(metric.measured, key, cell, population=side.population)
            rows.append(
                {
                    **{"benchmark": benchmark, "metric": title, "model": key[0], "steps": key[2]},
                    **{"value": found.value, "low": found.low, "high": found.high},
                    "unit": metric.info.unit,
                }
            )
    columns = ["benchmark", "metric", "model", "steps", "value", "low", "high", "unit"]
    return pd.DataFrame(rows, columns=columns)


def _matches(
    first: Evidence, other: Evidence, reference: str | None
) -> list[tuple[CellKey, CellKey]]:
    if reference is not None:
        target = reference_of(first, reference, "--reference")
        return [(key, target) for key in other.cells]
    found = [(key, first.cell(key.model, key.steps)) for key in other.cells]
    matched = [(key, twin) for key, twin in found if twin is not None]
    if not matched:
        raise UserError(
            f"{other.label}: no model of it is in {first.label} at the same number of steps; name "
            f"what to compare with, as in: --reference {first.reference.model}. "
            f"There: {_listing(first)}; here: {_listing(other)}"
        )
    return matched


def _listing(side: Evidence) -> str:
    return ", ".join(sorted({key.model for key in side.cells}))


def _refusal(benchmark: str, why: Difference) -> str:
    return (
        f"{benchmark} is not compared: {why.part} is {why.first} in the first run and {why.other} "
        f"in this one: {why.why}"
    )


def _row(
    metric: str, other: Evidence, key: CellKey, first: Evidence, twin: CellKey, paired: Paired
) -> dict[str, Any]:
    entry = other.metrics[metric]
    benchmark, _, name = metric.partition(".")
    row = {
        "run": other.label,
        **{"benchmark": benchmark, "metric": name, "model": key.model},
        **{"sampler": key.sampler, "steps": key.steps},
        "family": family_of(benchmark, entry.info),
        **{"reference_model": twin.model, "reference_steps": twin.steps},
        **{"value": paired.value, "reference_value": paired.reference_value},
        **{column: getattr(paired.found, column) for column in (*_FOUND, "method")},
        **{"n_prompts": paired.n_prompts, "n_unpaired": paired.n_unpaired},
        **{"n_missing": paired.n_missing, "unit": entry.info.unit},
        "headline": entry.info.headline,
    }
    total = entry.info.headline and len(entry.measured.components) > 1
    if total and not (other.whole and first.whole):
        gone = dict.fromkeys(("value", "reference_value", *_FOUND), NAN)
        row |= {**gone, "method": "no total: a run is limited or incomplete"}
    return row


def _remarks(
    first: Evidence, other: Evidence, matched: Sequence[tuple[CellKey, CellKey]]
) -> Iterator[str]:
    for side in (first, other):
        unsampled = sum(state.unsampled for state in side.cells.values())
        if unsampled:
            yield f"{side.label} is limited or incomplete: {unsampled} samples are missing"
        unscored = sum(max(s.unscored.values(), default=0) for s in side.cells.values())
        if unscored:
            yield (
                f"{unscored} samples of {side.label} have no score by the scorers of this version; "
                f"score them with: score {side.label}"
            )
    taken = {key for key, _ in matched}
    alone = [str(key) for key in other.cells if key not in taken]
    if alone:
        yield f"not in the first run: {', '.join(alone)}"
    for side, twin in ((first, other), (other, first)):
        only = sorted({m.partition(".")[0] for m in side.metrics.keys() - twin.metrics.keys()})
        if only:
            yield f"measured in {side.label} alone: {', '.join(only)}"
    if any(side.timings.get(key) for side in (other,) for key in taken):
        yield "times are not compared: two runs are not measured in the same rounds"
