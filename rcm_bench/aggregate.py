"""Scores to tables: every number with its interval, every student paired with its teacher. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from rcm_bench.errors import UserError
from rcm_bench.measured import Cell, Failures, Measured, cells
from rcm_bench.statistics import (
    Clusters,
    Estimate,
    Population,
    can_pass,
    compare,
    estimate,
    holm,
    value_of,
)
from rcm_bench.types import MetricInfo, Reference

MEASUREMENTS = [
    *("benchmark", "metric", "model", "sampler", "steps", "n_prompts", "n_samples", "n_missing"),
    *("value", "se", "low", "high", "unit", "method", "population", "protocol"),
]
PAIRED = [
    *MEASUREMENTS,
    *("reference_model", "reference_steps", "difference", "difference_low", "difference_high"),
    *("p", "p_least", "family", "p_holm", "tied", "detectable"),
    *("ratio", "ratio_low", "ratio_high"),
]
ALPHA = 0.05
POPULATIONS: Mapping[Population, str] = {
    "new prompts": "new prompts of the same kind, new seeds, this checkpoint",
    "same prompts": "these prompts, new seeds, this checkpoint",
}
NAN = float("nan")
Key = tuple[str, str, int]


class Measures(Protocol):
    """What aggregation asks of a benchmark."""

    @property
    def name(self) -> str:
        """Name of the benchmark."""
        ...

    @property
    def metrics(self) -> Mapping[str, MetricInfo]:
        """The metrics that it reports."""
        ...

    def measure(
        self, samples: pd.DataFrame, scores: pd.DataFrame, *, failures: Failures
    ) -> Mapping[str, Measured]:
        """Return sums per prompt for each metric."""
        ...


class Tables(NamedTuple):
    """The tables of a run, timings aside.

    Attributes:
        measurements: One row for each benchmark, metric, model, sampler and number of steps.
        paired: One row for each of them but the reference's own, compared with the reference.
    """

    measurements: pd.DataFrame
    paired: pd.DataFrame


class _Context(NamedTuple):
    benchmark: Measures
    protocol: str
    population: Population
    totals: bool
    reference: Reference
    teacher: Key


def reference_cell(found: Iterable[Key], reference: Reference) -> Key:
    """Return the one cell that the others are compared with.

    Raises:
        UserError: No cell, or several samplers, have the reference's model and steps.
    """
    matches = [key for key in found if (key[0], key[2]) == (reference.model, reference.steps)]
    if len(matches) == 1:
        return matches[0]
    what = f"reference: expected one cell of model '{reference.model}' at {reference.steps} steps"
    if matches:
        raise UserError(f"{what}, got samplers {', '.join(sorted(key[1] for key in matches))}")
    there = ", ".join(sorted({f"{key[0]} at {key[2]}" for key in found}))
    raise UserError(f"{what}, got {there or 'no samples'}")


def marked(samples: pd.DataFrame, reference: Reference) -> pd.DataFrame:
    """Mark the samples of the reference in a column ``is_reference``, for measures between sets."""
    own = (samples["model"] == reference.model) & (samples["steps"] == reference.steps)
    return samples.assign(is_reference=own)


def _kept(cell: Cell) -> Clusters:
    return cell.clusters.take(cell.clusters.denominator.sum(1) > 0)


def _estimate(cell: Cell, measured: Measured, *, population: Population) -> Estimate:
    clusters = _kept(cell)
    if measured.kind == "exact":
        value = value_of(clusters)
        return Estimate(value=value, se=0.0, low=value, high=value, method="exact count")
    return estimate(clusters, kind=measured.kind, population=population)


def _withheld(measured: Measured, key: Key, cell: Cell, totals: bool) -> str | None:
    """Say why a number must not be printed, or return None."""
    if key in measured.withheld:
        return measured.withheld[key]
    if len(measured.components) > 1:
        if not totals:
            return "no total: the run is limited or incomplete"
        empty = cell.clusters.denominator.sum(0) == 0
        names = [n for n, gone in zip(measured.components, empty, strict=True) if gone]
        if names:
            return f"no total: nothing scored in {', '.join(names)}"
    return None


def number_of(
    measured: Measured, key: Key, cell: Cell, *, population: Population, totals: bool = True
) -> Estimate:
    """Return what is printed of a cell: its number with an interval, or none with the reason.

    Args:
        measured: The metric.
        key: Model, sampler and steps.
        cell: Sums of that configuration.
        population: What the interval speaks of.
        totals: False for a limited or incomplete run.
    """
    withheld = _withheld(measured, key, cell, totals)
    if withheld is not None:
        return Estimate(value=NAN, se=NAN, low=NAN, high=NAN, method=withheld)
    return _estimate(cell, measured, population=population)


def _measurement(
    context: _Context, metric: str, key: Key, cell: Cell, measured: Measured
) -> dict[str, Any]:
    info = context.benchmark.metrics[metric]
    found = number_of(measured, key, cell, population=context.population, totals=context.totals)
    return {
        "benchmark": context.benchmark.name,
        "metric": metric,
        **dict(zip(("model", "sampler", "steps"), key, strict=True)),
        "n_prompts": int((cell.clusters.denominator.sum(1) > 0).sum()),
        "n_samples": int(cell.n_samples.sum()),
        "n_missing": int(cell.n_missing.sum()),
        **{name: getattr(found, name) for name in ("value", "se", "low", "high", "method")},
        "unit": info.unit,
        "population": POPULATIONS[context.population],
        "protocol": context.protocol,
    }


class _Pair(NamedTuple):
    student: Clusters
    reference: Clusters
    prompts: pd.Index


def common_prompts(student: Cell, reference: Cell) -> _Pair:
    """Keep the prompts, and of each prompt the components, that both have scores for."""
    prompts = student.prompts.intersection(reference.prompts, sort=True)
    a, b = (
        c.clusters.take(np.asarray(c.prompts.isin(prompts), dtype=np.bool_))
        for c in (student, reference)
    )
    both = (a.denominator > 0) & (b.denominator > 0)
    rows = np.asarray(both.any(1), dtype=np.bool_)

    def masked(clusters: Clusters) -> Clusters:
        within = None if clusters.within is None else np.where(both, clusters.within, 0.0)
        return Clusters(
            numerator=np.where(both, clusters.numerator, 0.0),
            denominator=np.where(both, clusters.denominator, 0.0),
            strata=clusters.strata,
            within=within,
            seeds=clusters.seeds,
        ).take(rows)

    return _Pair(student=masked(a), reference=masked(b), prompts=prompts[rows])


def _comparison(
    context: _Context, row: Mapping[str, Any], cell: Cell, teacher: Cell, measured: Measured
) -> dict[str, Any]:
    assert measured.kind != "exact"
    pair = common_prompts(cell, teacher)
    found = compare(
        pair.student,
        pair.reference,
        kind=measured.kind,
        population=context.population,
        ratio=measured.ratio,
    )
    method = measured.withheld.get(context.teacher, str(row["method"]))
    withheld = method.startswith("no total")
    used = [int(c.n_samples.loc[pair.prompts].sum()) for c in (cell, teacher)]
    planned = sum(int((c.n_samples + c.n_missing).sum()) for c in (cell, teacher))
    names = [f.name for f in fields(found) if f.name != "method"]
    return {
        **row,
        "n_prompts": len(pair.prompts),
        "n_samples": used[0],
        "n_missing": planned - sum(used),
        "reference_model": context.reference.model,
        "reference_steps": context.reference.steps,
        **{name: NAN if withheld else getattr(found, name) for name in names},
        "family": family_of(context.benchmark.name, context.benchmark.metrics[str(row["metric"])]),
        "method": method if withheld else found.method,
    }


def family_of(benchmark: str, info: MetricInfo) -> str:
    """Name a metric's family: the headlines of all benchmarks together, each benchmark's parts."""
    return "headlines" if info.headline else f"{benchmark} parts"


def with_holm(paired: pd.DataFrame) -> pd.DataFrame:
    """Adjust p within each family of a student: its metrics by steps.

    A test that could not have passed in its family, whatever the data, leaves it untested: such a
    row has no ``p_holm``, ``tied`` is None, and the method says so. ``tied`` never means equal.
    """
    p_holm = np.full(len(paired), NAN)
    tied: list[bool | None] = [None] * len(paired)
    methods = paired["method"].tolist()
    paired = paired.reset_index(drop=True)
    for (_, _, family), rows in paired.groupby(["model", "sampler", "family"], sort=False):
        p = rows["p"].to_numpy(dtype=np.float64)
        able = can_pass(rows["p_least"].to_numpy(dtype=np.float64), ALPHA)
        adjusted = holm(np.where(able, p, NAN))
        tests = int(np.isfinite(adjusted).sum())
        for row, value, there in zip(rows.index, adjusted, np.isfinite(p), strict=True):
            p_holm[row] = value
            if np.isfinite(value):
                tied[row] = bool(value >= ALPHA)
                methods[row] += f", Holm over {tests} tests ({family} x steps)"
            elif there:
                methods[row] += f", untested: too few prompts to tell among {len(rows)} tests"
    return paired.assign(
        p_holm=p_holm,
        tied=pd.Series(tied, index=paired.index, dtype=object),
        method=pd.Series(methods, index=paired.index, dtype=object),
    )


def aggregate(
    samples: pd.DataFrame,
    scores: pd.DataFrame,
    benchmarks: Sequence[Measures],
    reference: Reference,
    protocol_fingerprint: str,
    *,
    population: Population = "new prompts",
    failures: Failures = "exclude_and_flag",
    totals: bool = True,
) -> Tables:
    """Fold scores into measurements and paired differences.

    The same scores give the same tables in any order of rows: everything is sorted first and every
    random draw has a constant seed. A sample without a score is counted in ``n_missing`` and left
    out of the value, never taken as zero unless ``failures`` says so.

    Args:
        samples: The samples table, one row for **every planned** item, whatever became of it.
        scores: The scores table; what is not there, or NaN, is missing.
        benchmarks: The benchmarks of the suite.
        reference: The cell that all others are compared with; a cell of the samples.
        protocol_fingerprint: Short hash printed beside every number.
        population: What the intervals speak of. New prompts, by default: prompts are a sample of
            their kind. Where a task has all its prompts in the set (the laboratory's single
            objects) that is on the wide side.
        failures: What a missing sample counts as in accuracies; other metrics always leave it out.
        totals: False for a limited or incomplete run, which prints no benchmark total.

    Raises:
        UserError: The reference is not among the samples.
    """
    cell_keys = samples[["model", "sampler", "steps"]].drop_duplicates()
    teacher = reference_cell(
        [(str(m), str(s), int(n)) for m, s, n in cell_keys.itertuples(index=False)], reference
    )
    samples = marked(samples, reference)
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for benchmark in benchmarks:
        context = _Context(benchmark, protocol_fingerprint, population, totals, reference, teacher)
        for metric, measured in benchmark.measure(samples, scores, failures=failures).items():
            own, compared = _metric_rows(context, metric, measured)
            rows += own
            pairs += compared
    paired = with_holm(
        pd.DataFrame(pairs, columns=[c for c in PAIRED if c not in ("p_holm", "tied")])
    )
    return Tables(pd.DataFrame(rows, columns=MEASUREMENTS), paired[PAIRED])


def _metric_rows(
    context: _Context, metric: str, measured: Measured
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of one metric for both tables."""
    found = cells(measured)
    teacher = found.get(context.teacher)
    rows, pairs = [], []
    for key, cell in found.items():
        row = _measurement(context, metric, key, cell, measured)
        rows.append(row)
        if key != context.teacher and teacher is not None and measured.kind != "exact":
            pairs.append(_comparison(context, row, cell, teacher, measured))
    return rows, pairs
