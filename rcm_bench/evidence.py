"""What one side of a comparison brings: its sums per prompt and what they were measured under.

A run folder gives it, and so does a baseline file; nothing behind this file cares which it was.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from rcm_bench.aggregate import marked
from rcm_bench.canonical import digest_of
from rcm_bench.conditions import conditions_of
from rcm_bench.finish import OpenRun, lacking_scores, open_run
from rcm_bench.measured import CELL, Measured
from rcm_bench.prompt_sets import prompt_key
from rcm_bench.scoring import scorer_key, scorers_of
from rcm_bench.statistics import Population
from rcm_bench.store import Index
from rcm_bench.tables import RunTables, run_tables
from rcm_bench.timing_rounds import cell_id
from rcm_bench.types import MetricInfo, Reference


class CellKey(NamedTuple):
    """One configuration of a run."""

    model: str
    sampler: str
    steps: int

    def __str__(self) -> str:
        """Spell it for people."""
        return f"{self.model} at {self.steps} {'step' if self.steps == 1 else 'steps'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CellState:
    """What there is of one configuration.

    Args:
        samples: Digest of its stored files by prompt and seed; equal digests are equal samples.
        planned: Samples that the plan asks for.
        unsampled: Those that are not there.
        unscored: Stored samples without a score, by benchmark.
    """

    samples: str
    planned: int
    unsampled: int
    unscored: Mapping[str, int]

    def missing(self, benchmark: str) -> int:
        """Return how many planned samples one benchmark has no score for."""
        return self.unsampled + self.unscored.get(benchmark, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric of every configuration."""

    info: MetricInfo
    measured: Measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One side of a comparison.

    Args:
        label: How the user named it.
        suite: Name of its suite.
        protocol: As in `Conditions`.
        models: Role, settings of the sampler, and identity of each model.
        circumstances: As in `Conditions`.
        reference: Its teacher at the largest number of steps.
        prompts: As in `Conditions`.
        cells: What there is of each configuration, in the suite's order.
        metrics: ``"benchmark.metric"`` to its sums per prompt.
        timings: Timing records of each configuration; empty for a baseline file.
    """

    label: str
    suite: str
    protocol: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    circumstances: Mapping[str, Any]
    reference: Reference
    prompts: Mapping[str, str]
    cells: Mapping[CellKey, CellState]
    metrics: Mapping[str, Metric]
    timings: Mapping[CellKey, list[dict[str, Any]]]

    def cell(self, model: str, steps: int) -> CellKey | None:
        """Return the configuration of a model at a number of steps, or None."""
        found = [key for key in self.cells if (key.model, key.steps) == (model, steps)]
        return found[0] if found else None

    @property
    def population(self) -> Population:
        """Return what its intervals speak of."""
        same = self.protocol.get("population") == "same prompts"
        return "same prompts" if same else "new prompts"

    @property
    def whole(self) -> bool:
        """Return True if every planned sample is there and scored."""
        return not any(c.unsampled or any(c.unscored.values()) for c in self.cells.values())


def run_evidence(folder: str | Path) -> Evidence:
    """Read the evidence of a run folder from its records alone.

    Raises:
        UserError: It is no run folder, or was made by a version whose keys differ.
    """
    return evidence_of(open_run(Path(folder)), str(folder))


def evidence_of(run: OpenRun, label: str, only: Collection[str] | None = None) -> Evidence:
    """Read the evidence of an opened run.

    Args:
        run: The run.
        label: How the user named it.
        only: Benchmarks whose metrics are wanted; all by default.
    """
    plan, suite = run.plan, run.plan.suite
    index = run.store.index()
    tables = run_tables(plan, index, run.benchmarks)
    cells = _cells(run, tables, index)
    # The scorers of today, because only their scores are in the tables.
    conditions = conditions_of(run)
    return Evidence(
        label=label,
        suite=suite.suite,
        protocol=conditions.protocol,
        models={
            name: {
                "role": entry.role,
                "sampler": suite.samplers[entry.sampler],
                "identity": dict(plan.identities[name]),
            }
            for name, entry in suite.models.items()
        },
        circumstances=conditions.circumstances,
        reference=plan.reference(),
        prompts=conditions.prompts,
        cells=cells,
        metrics=_metrics(run, tables, only),
        timings=_timings(cells, index),
    )


def _metrics(run: OpenRun, tables: RunTables, only: Collection[str] | None) -> dict[str, Metric]:
    policy = run.plan.suite.run.failures
    samples = marked(tables.samples, run.plan.reference())
    found = {}
    for benchmark in run.benchmarks:
        if only is not None and benchmark.name not in only:
            continue
        measured = benchmark.measure(  # type: ignore[attr-defined]
            samples,
            tables.scores,
            failures="score_zero" if policy == "score_zero" else "exclude_and_flag",
        )
        for name, sums in measured.items():
            info = benchmark.metrics[name]
            found[f"{benchmark.name}.{name}"] = Metric(info=info, measured=sums)
    return found


def _cells(run: OpenRun, tables: RunTables, index: Index) -> dict[CellKey, CellState]:
    keys = {prompt.prompt_id: prompt_key(prompt) for prompt in run.plan.prompts}
    by_scorer = lacking_scores(run.plan, index, run.benchmarks)
    lacking = {
        benchmark.name: set().union(*(by_scorer[scorer_key(s)] for s in scorers))
        for benchmark in run.benchmarks
        if (scorers := scorers_of(benchmark))
    }
    found = {}
    for cell, rows in tables.samples.groupby(CELL, sort=False):
        model, sampler, steps = map(str, cell)
        there = rows[rows["status"] == "ok"]
        found[CellKey(model, sampler, int(steps))] = CellState(
            samples=_samples_digest(there, keys),
            planned=len(rows),
            unsampled=len(rows) - len(there),
            unscored={
                name: int(there["item_id"].isin(items).sum()) for name, items in lacking.items()
            },
        )
    return found


def _samples_digest(there: pd.DataFrame, keys: Mapping[str, str]) -> str:
    rows = there[["prompt_id", "seed_index", "blob"]].itertuples(index=False)
    return digest_of(sorted([keys[str(p)], int(k), str(b)] for p, k, b in rows))


def _timings(
    cells: Mapping[CellKey, CellState], index: Index
) -> dict[CellKey, list[dict[str, Any]]]:
    return {key: index.timings.get(cell_id(key.model, key.steps), []) for key in cells}
