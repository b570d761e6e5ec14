"""The end of a run: records to tables, tables to a report; needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rcm_bench import unrecorded
from rcm_bench.aggregate import Tables, aggregate
from rcm_bench.errors import UserError
from rcm_bench.planning import Plan, make_plan
from rcm_bench.prepare import make_benchmarks
from rcm_bench.prompt_sets import prompt_key, prompts_digest
from rcm_bench.published import reference_table, write_published
from rcm_bench.published_rows import published_rows
from rcm_bench.scoring import applies, sample_digest, score_key, unique_scorers
from rcm_bench.store import Index, RunStore, nothing_sampled
from rcm_bench.suite import Suite
from rcm_bench.tables import RunTables, run_tables
from rcm_bench.throughput_table import throughput_table
from rcm_bench.timing import has_timing, is_timed, timing_faults, timing_table
from rcm_bench.types import Benchmark, Reference

if TYPE_CHECKING:
    from rcm_reports import ReportInput


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run came to.

    Args:
        run_dir: The run folder.
        report: The page; None where nothing has been sampled yet.
        measurements: The table of measurements.
        timings: The table of timings.
        cells: Models and numbers of steps in the suite's order.
        metrics: What the manifest says of each metric.
        whole: True if every planned sample is there and scored.
        done: True if everything that this invocation asked for is there and scored.
        remarks: What the reader should know, one sentence each.
    """

    run_dir: Path
    report: Path | None
    measurements: pd.DataFrame
    timings: pd.DataFrame
    cells: list[tuple[str, int]]
    metrics: dict[str, Any]
    whole: bool
    done: bool
    remarks: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRun:
    """A run folder with its plan made again from the manifest."""

    store: RunStore
    plan: Plan
    benchmarks: list[Benchmark]


def open_run(folder: Path) -> OpenRun:
    """Open a run folder; neither the suite file nor the weights are needed.

    Raises:
        UserError: It is no run folder, or was made by a version whose keys differ.
    """
    store = RunStore.open(folder)
    frozen = store.manifest["frozen"]
    suite = Suite.model_validate(store.manifest["suite"])
    prompts = store.prompts()
    if prompts_digest(prompts) != frozen["prompts"]:
        raise UserError(f"{folder}: its prompts are not those that its manifest froze")
    plan = make_plan(suite, prompts, frozen["models"])
    if plan.digest() != frozen["plan"]:
        raise UserError(
            f"{folder}: its plan gives other keys than this version of rcm_bench; "
            "continue it with the version that its manifest names"
        )
    return OpenRun(store=store, plan=plan, benchmarks=make_benchmarks(suite))


def lacking_scores(
    plan: Plan, index: Index, benchmarks: Sequence[Benchmark]
) -> dict[str, set[str]]:
    """Return the items that are sampled and lack a score, by the key of the scorer that owes it."""
    scorers = unique_scorers(benchmarks)
    owed = {
        prompt.prompt_id: (prompt, [key for key, s in scorers.items() if applies(s, prompt)])
        for prompt in plan.prompts
    }
    lacking: dict[str, set[str]] = {key: set() for key in scorers}
    for item in plan.items:
        record = index.samples.get(item.sample_key or "")
        if record is None:
            continue
        digest, (prompt, keys) = sample_digest(record), owed[item.prompt_id]
        for key in keys:
            if score_key(digest, key, prompt) not in index.scores:
                lacking[key].add(item.item_id)
    return lacking


def missing_scores(
    plan: Plan, index: Index, benchmarks: list[Benchmark], prompt_ids: frozenset[str]
) -> tuple[int, int]:
    """Count the items of some prompts that lack a sample, and those that lack a score."""
    lacking = set().union(*lacking_scores(plan, index, benchmarks).values())
    own = [item for item in plan.items if item.prompt_id in prompt_ids]
    unsampled = sum((item.sample_key or "") not in index.samples for item in own)
    return unsampled, sum(item.item_id in lacking for item in own)


def conclude(run: OpenRun, limit: int | None = None) -> Outcome:
    """Aggregate what a run holds, and write its tables and its report.

    Args:
        run: The run.
        limit: The limit of the invocation; None for all prompts.
    """
    plan, store = run.plan, run.store
    index = store.index()
    everything = plan.limited(None)
    chosen = plan.limited(limit)
    unsampled, unscored = missing_scores(plan, index, run.benchmarks, chosen)
    timed = not has_timing(plan.suite.benchmarks) or is_timed(plan, index)
    remarks = _remarks(plan, index, chosen, everything, unsampled, unscored)
    if not timed:
        remarks += timing_faults(plan, index)
    whole = is_whole(run, index) if chosen != everything else unsampled == unscored == 0
    report = report_input(run, index, limit if chosen != everything else None, whole=whole)
    return Outcome(
        run_dir=store.root,
        report=_write(run, report),
        measurements=report.measurements,
        timings=report.timings,
        cells=list(plan.cells()),
        metrics=store.manifest["metrics"],
        whole=whole,
        done=unsampled == unscored == 0 and timed,
        remarks=remarks,
    )


def _remarks(
    plan: Plan,
    index: Index,
    chosen: frozenset[str],
    everything: frozenset[str],
    unsampled: int,
    unscored: int,
) -> list[str]:
    remarks = [*index.faults, *(said.removesuffix(".") for said in unrecorded.remarks(plan))]
    if chosen != everything:
        remarks.append(
            f"limited to {len(chosen)} of {len(everything)} prompts: no benchmark totals"
        )
    if unsampled:
        remarks.append(f"{unsampled} samples are missing: no benchmark totals; see 'status'")
    if unscored:
        remarks.append(f"{unscored} samples are not scored: no benchmark totals; see 'status'")
    flagged = sum(
        bool(index.samples[item.sample_key or ""]["flags"])
        for item in plan.items
        if item.sample_key in index.samples
    )
    if flagged:
        remarks.append(f"{flagged} samples are degenerate (one colour, or not finite)")
    return remarks


def is_whole(run: OpenRun, index: Index) -> bool:
    """Say whether every planned sample is there and scored."""
    everything = run.plan.limited(None)
    return not any(missing_scores(run.plan, index, run.benchmarks, everything))


def report_input(
    run: OpenRun, index: Index, limit: int | None = None, *, whole: bool | None = None
) -> "ReportInput":
    """Make the tables of a run.

    Args:
        run: The run.
        index: Its records.
        limit: The limit to be told; None where all prompts were asked for.
        whole: Whether nothing is missing, if that is known already.

    Raises:
        UserError: Nothing has been sampled yet.
    """
    from rcm_bench.posters import poster_of
    from rcm_reports import ReportInput

    plan, store = run.plan, run.store
    if not index.samples:
        raise nothing_sampled(store.root, index)
    tables = run_tables(plan, index, run.benchmarks)
    totals = is_whole(run, index) if whole is None else whole
    result = measure(run, tables.samples, tables.scores, totals=totals)
    from rcm_bench.gate_status import gate_status

    said = [*store.manifest.get("remarks", []), *unrecorded.remarks(plan)]
    extra = {"limit": limit, "gate": gate_status(run), "remarks": said or None}
    environment = dict(store.manifest.get("environment") or {})
    for benchmark in run.benchmarks:
        if (receipt := getattr(benchmark, "receipt", None)) is not None:
            environment |= receipt(tables.scores)
    return ReportInput(
        manifest={
            **store.manifest,
            **({"environment": environment} if environment else {}),
            **{k: v for k, v in extra.items() if v is not None},
        },
        measurements=result.measurements,
        paired=told(result.paired, unrecorded.unverified(plan)),
        samples=tables.samples,
        scores=tables.scores,
        failures=tables.failures,
        timings=timing_table(plan, index),
        run_dir=store.root,
        published=published_rows(plan.suite, run.benchmarks, store.manifest["protocol"]),
        throughput=throughput_table(plan, index),
        poster=poster_of,
    )


def told(paired: pd.DataFrame, unverified: set[str]) -> pd.DataFrame:
    """Say in the method of a comparison that nobody knows whether its sides had one protocol."""
    if not unverified:
        return paired
    open_ = paired["model"].isin(unverified) | paired["reference_model"].isin(unverified)
    doubt = "; not verified: protocol not recorded"
    return paired.assign(method=paired["method"].where(~open_, paired["method"] + doubt))


def measure(
    run: OpenRun,
    samples: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    totals: bool,
    reference: Reference | None = None,
) -> Tables:
    """Aggregate samples and scores as the suite of a run says.

    Args:
        run: Whose benchmarks and protocol hold.
        samples: The samples table, maybe of several runs.
        scores: Their scores.
        totals: False if something is missing.
        reference: What all is compared with; the run's own by default.
    """
    failures = run.plan.suite.run.failures
    return aggregate(
        samples,
        scores,
        run.benchmarks,  # type: ignore[arg-type]
        reference or run.plan.reference(),
        run.store.manifest["protocol_fingerprint"],
        population=run.plan.suite.protocol.population,
        failures="score_zero" if failures == "score_zero" else "exclude_and_flag",
        totals=totals,
    )


def _write(run: OpenRun, report: "ReportInput") -> Path:
    from rcm_reports import render, write_plots, write_tables

    store = run.store
    keys = [prompt_key(prompt) for prompt in run.plan.prompts]
    published = reference_table(report.measurements, store.manifest["protocol"], keys).table
    with store.alone():
        write_tables(report, store.root / "tables")
        tables = RunTables(report.samples, report.scores, report.failures)
        for benchmark in run.benchmarks:
            if (export := getattr(benchmark, "export", None)) is not None:
                export(tables, run.plan.prompts, store.root / "tables")
        if len(published):
            write_published(published, store.root / "tables" / "published.csv")
        write_plots(report, store.root / "plots")
        return render(report, store.root / "report")
