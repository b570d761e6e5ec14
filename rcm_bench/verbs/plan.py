"""plan: what a run would do and cost, and what is missing for it."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcm_bench.manifest import counts, default_folder
from rcm_bench.planning import Plan
from rcm_bench.prepare import check_disk, prepare
from rcm_bench.scoring import unique_scorers
from rcm_bench.store import MANIFEST, RunStore
from rcm_bench.suite_load import load_suite
from rcm_bench.types import Scorer
from rcm_bench.unrecorded import is_brought


@dataclass(frozen=True, kw_only=True, slots=True)
class CellCost:
    """One row of the plan.

    Args:
        model: Name of the model.
        sampler: Name of its sampler.
        steps: Number of steps.
        samples: Samples to make.
        evaluations: Network evaluations in all.
        seconds: Rough time on a small CPU.
    """

    model: str
    sampler: str
    steps: int
    samples: int
    evaluations: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanSummary:
    """What a run would do.

    Args:
        suite: Name of the suite.
        cells: One row for each model and number of steps.
        counts: Totals, as in the manifest.
        megabytes: Rough size of the samples.
        benchmarks: What is measured.
        out: The folder that ``run`` would use.
        present: Samples that are there already.
        missing: What has to be brought to this machine before a run.
        machine: What the times are meant for.
        brought: Samples that are taken as they are and not made.
        fetched: Weights of scorers that a run takes from the hub, where its cache lacks them.
    """

    suite: str
    cells: list[CellCost]
    counts: dict[str, Any]
    megabytes: float
    benchmarks: list[str]
    out: Path
    present: int
    missing: list[str]
    machine: str
    brought: int
    fetched: list[str]


def plan(suite: str, allow_pickle: Collection[str] = ()) -> PlanSummary:
    """Expand a suite and check all that it needs, without sampling.

    Args:
        suite: Path of a suite, or the name of a shipped one.
        allow_pickle: SHA-256 of weights in pickles that may be read.

    Raises:
        UserError: Something in the suite or in a file is wrong.
    """
    prepared = prepare(load_suite(suite), allow_pickle)
    scorers = unique_scorers(prepared.benchmarks)
    made, models = prepared.plan, prepared.models
    per_cell = len(made.items) // len(list(made.cells()))
    cells = []
    size = 0.0
    for name, steps in made.cells():
        cost, evaluations = models[name].cost(), models[name].evaluations(steps) * per_cell
        size += cost.bytes_per_sample * per_cell
        cells.append(
            CellCost(
                model=name,
                sampler=made.suite.models[name].sampler,
                steps=steps,
                samples=per_cell,
                evaluations=evaluations,
                seconds=evaluations * cost.seconds_per_evaluation,
            )
        )
    out = default_folder(prepared)
    present = _present(made, out)
    check_disk(prepared, out, Counter(i.model for i in made.items if i.sample_key not in present))
    return PlanSummary(
        suite=made.suite.suite,
        cells=cells,
        counts=counts(made, models),
        megabytes=size / 1e6,
        benchmarks=[benchmark.name for benchmark in prepared.benchmarks],
        out=out,
        present=len(present),
        missing=prepared.missing,
        brought=sum(is_brought(made.identities[item.model]) for item in made.items),
        fetched=_fetched(list(scorers.values())),
        machine=" and ".join(dict.fromkeys(m.cost().machine for m in models.values())),
    )


def _fetched(scorers: Sequence[Scorer]) -> list[str]:
    """Name what scorers fetch when they are loaded: what a suite names by a hub id or a tag."""
    named = []
    for scorer in scorers:
        settings = (getattr(scorer, name) for name in getattr(scorer, "__dataclass_fields__", ()))
        named += [getattr(each, "fetched", str)() for each in settings]
    return [name for name in dict.fromkeys(named) if name]


def _present(made: Plan, out: Path) -> set[str | None]:
    """Return the sample keys that the run folder has already."""
    if not (out / MANIFEST).exists():
        return set()
    stored = RunStore.open(out).index().samples
    return {item.sample_key for item in made.items if item.sample_key in stored}
