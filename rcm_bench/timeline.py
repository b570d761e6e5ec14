"""One suite over time: what each run measured, what changed before it, what got worse by test."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from rcm_bench.aggregate import ALPHA, aggregate
from rcm_bench.canonical import canonical_json
from rcm_bench.comparability import differences
from rcm_bench.conditions import Conditions, conditions_of
from rcm_bench.errors import UserError
from rcm_bench.finish import OpenRun, open_run, report_input
from rcm_bench.measured import Failures, Measured
from rcm_bench.statistics import holm
from rcm_bench.store import MANIFEST
from rcm_bench.types import MetricInfo, Reference

if TYPE_CHECKING:
    from rcm_reports import ReportInput
    from rcm_reports.history import Change, HistoryRun, Kind

_BEFORE, _AFTER = "before", "after"
_MAX_NOTES = 12
_SHORT = 60
Key = tuple[str, str, str, int]  # metric key, model, sampler, steps


class _Measured(NamedTuple):
    """The tables of a run and what they were made under."""

    report: "ReportInput"
    conditions: Conditions


@dataclass(frozen=True, kw_only=True, slots=True)
class _Headlines:
    """A benchmark that measures its headlines alone: a history tests no more than it shows."""

    benchmark: Any

    @property
    def name(self) -> str:
        """Name of the benchmark."""
        return str(self.benchmark.name)

    @property
    def metrics(self) -> Mapping[str, MetricInfo]:
        """The headline metrics."""
        metrics: Mapping[str, MetricInfo] = self.benchmark.metrics
        return {name: info for name, info in metrics.items() if info.headline}

    def measure(
        self, samples: pd.DataFrame, scores: pd.DataFrame, *, failures: Failures
    ) -> Mapping[str, Measured]:
        """Return sums per prompt of the headlines."""
        found = self.benchmark.measure(samples, scores, failures=failures)
        return {name: each for name, each in found.items() if name in self.metrics}


def find_runs(paths: Sequence[str | Path]) -> list[OpenRun]:
    """Open runs that are named, or lie in a folder that is named, the oldest first.

    Raises:
        UserError: A folder holds no run, there are fewer than two, or they are of several suites.
    """
    folders: dict[Path, Path] = {}
    for path in map(Path, paths):
        inner = [path] if (path / MANIFEST).exists() else sorted(path.glob(f"*/{MANIFEST}"))
        found = [each if each == path else each.parent for each in inner]
        if not found:
            raise UserError(f"{path}: no run, and no folder of runs: there is no {MANIFEST} in it")
        folders |= {each.resolve(): each for each in found}
    runs = [open_run(folder) for folder in folders.values()]
    suites = sorted({run.plan.suite.suite for run in runs})
    if len(suites) > 1:
        raise UserError(
            f"--history: expected runs of one suite, got {len(suites)}: {', '.join(suites)}"
        )
    if len(runs) < 2:
        raise UserError(f"--history: expected at least 2 runs, got 1: {runs[0].store.root}")
    return sorted(runs, key=lambda run: (str(run.store.manifest["created"]), str(run.store.root)))


def history(runs: Sequence[OpenRun]) -> "list[HistoryRun]":
    """Measure runs of one suite and compare each with the one before it.

    Args:
        runs: The runs, the oldest first.
    """
    from rcm_reports.history import HistoryRun

    made: list[HistoryRun] = []
    first = before = None
    for place, run in enumerate(runs):
        report = report_input(run, run.store.index())
        now = _Measured(report, conditions_of(run))
        changes: dict[Key, Change] = {}
        since_first: dict[Key, Change] = {}
        notes: list[str] = []
        if before is not None:
            changes = _changes(before, run, now)
            notes = _notes(before.report.manifest, report.manifest)
        if first is not None and first is not before and place == len(runs) - 1:
            since_first = _changes(first, run, now)
        made.append(
            HistoryRun(
                name=run.store.root.resolve().name,
                manifest=report.manifest,
                measurements=report.measurements,
                changes=changes,
                notes=notes,
                since_first=since_first,
            )
        )
        first, before = first or now, now
    return made


def _changes(old: _Measured, run: OpenRun, new: _Measured) -> "dict[Key, Change]":
    """Compare every cell that both runs have, as far as their protocols allow it."""
    found = differences(old.conditions, new.conditions)
    parts = {d.part for d in found if d.effect != "harmless"}
    if not parts:
        return _paired(run, old.report, new.report)
    if parts == {"prompts"}:
        return _unpaired(old.report, new.report)
    return {}


def _paired(run: OpenRun, old: "ReportInput", new: "ReportInput") -> "dict[Key, Change]":
    """Pair each cell with itself of the run before, by prompt; Holm over all of them."""
    from rcm_reports.history import Change

    rows: list[tuple[Key, Any]] = []
    found: dict[Key, Change] = {}
    cells = new.samples[["model", "sampler", "steps"]].drop_duplicates()
    for model, sampler, steps in cells.itertuples(index=False, name=None):
        after = _cell(new.samples, model, sampler, steps)
        before = _cell(old.samples, model, sampler, steps)
        if not len(before):
            continue
        if _same_samples(before, after):
            found |= {
                (f"{b.name}.{metric}", model, sampler, steps): Change("same", 0.0, 0.0, 0.0)
                for b in map(_headlines, run.benchmarks)
                for metric in b.metrics
            }
            continue
        for row in _compared(run, old, new, before, after, steps):
            key = (f"{row['benchmark']}.{row['metric']}", model, sampler, steps)
            rows.append((key, row))
    adjusted = holm(np.array([row["p"] for _, row in rows], dtype=np.float64))
    for (key, row), p in zip(rows, adjusted, strict=True):
        better = _better(new.manifest, key[0], float(row["difference"]))
        told: Kind = "better" if better else "worse"
        kind: Kind = "untested" if np.isnan(p) else told if p < ALPHA else "level"
        ends = (float(row["difference_low"]), float(row["difference_high"]))
        found[key] = Change(kind, float(row["difference"]), *ends)
    return found


def _compared(
    run: OpenRun,
    old: "ReportInput",
    new: "ReportInput",
    before: pd.DataFrame,
    after: pd.DataFrame,
    steps: int,
) -> Iterator[Mapping[str, Any]]:
    """Yield the paired rows of one cell against itself."""
    samples, scores = [], []
    for name, cell, report in ((_BEFORE, before, old), (_AFTER, after, new)):
        mine = report.scores[report.scores["item_id"].isin(cell["item_id"])]
        samples.append(cell.assign(model=name, sampler="", item_id=f"{name}-" + cell["item_id"]))
        scores.append(mine.assign(item_id=f"{name}-" + mine["item_id"]))
    failures = run.plan.suite.run.failures
    tables = aggregate(
        pd.concat(samples, ignore_index=True),
        pd.concat(scores, ignore_index=True),
        [_headlines(benchmark) for benchmark in run.benchmarks if hasattr(benchmark, "measure")],
        Reference(model=_BEFORE, steps=steps),
        run.store.manifest["protocol_fingerprint"],
        failures="score_zero" if failures == "score_zero" else "exclude_and_flag",
    )
    yield from tables.paired.to_dict("records")  # type: ignore[misc]


def _headlines(benchmark: Any) -> _Headlines:
    return _Headlines(benchmark=benchmark)


def _unpaired(old: "ReportInput", new: "ReportInput") -> "dict[Key, Change]":
    """Compare measurements on other prompts of the same kind: by intervals, as if independent."""
    from rcm_reports.history import Change
    from rcm_reports.leads import difference_of

    before = {_key(row): row for row in old.measurements.to_dict("records")}
    found = {}
    for row in new.measurements.to_dict("records"):
        other = before.get(_key(row))
        if other is None or np.isnan([row["low"], other["low"]]).any():
            continue
        lead = difference_of(_ends(row), _ends(other))
        better = _better(new.manifest, _key(row)[0], lead.value)
        apart = lead.low > 0 or lead.high < 0
        told: Kind = "better" if better else "worse"
        kind: Kind = told if apart else "level"
        found[_key(row)] = Change(kind, lead.value, lead.low, lead.high, paired=False)
    return found


def _ends(row: Mapping[Any, Any]) -> tuple[float, float, float]:
    return float(row["value"]), float(row["low"]), float(row["high"])


def _key(row: Mapping[Any, Any]) -> Key:
    metric = f"{row['benchmark']}.{row['metric']}"
    return metric, str(row["model"]), str(row["sampler"]), int(row["steps"])


def _better(manifest: Mapping[str, Any], metric: str, difference: float) -> bool:
    return bool((difference > 0) == manifest["metrics"][metric]["higher_is_better"])


def _cell(samples: pd.DataFrame, model: str, sampler: str, steps: int) -> pd.DataFrame:
    own = (samples["model"] == model) & (samples["sampler"] == sampler)
    return samples[own & (samples["steps"] == steps)]


def _same_samples(before: pd.DataFrame, after: pd.DataFrame) -> bool:
    """Say whether two cells hold the same files for the same prompts and seeds."""
    names = ["prompt_id", "seed_index", "blob"]
    one, two = (frame[names].sort_values(names[:2]).to_numpy() for frame in (before, after))
    return bool(one.shape == two.shape and (one == two).all())


def _notes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say in words what changed between two runs: weights, protocol, environment."""
    notes = []
    for model in dict.fromkeys([*old["models"], *new["models"]]):
        one, two = (manifest["models"].get(model) for manifest in (old, new))
        if one is None or two is None:
            notes.append(f"model {model} {'added' if one is None else 'gone'}")
        elif one["digest"] != two["digest"]:
            notes.append(
                f"weights of {model}: {one['digest'][:12]} before, {two['digest'][:12]} now"
            )
    for title in ("protocol", "environment"):
        for at, one, two in _leaves(old[title], new[title]):
            notes.append(f"{title}: {at}: {one} before, {two} now")
    more = len(notes) - _MAX_NOTES
    return notes[:_MAX_NOTES] + ([f"and {more} more"] if more > 0 else [])


def _leaves(one: Any, other: Any, at: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield where two JSON values differ: place, what one has, what the other has."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys()):
            yield from _leaves(one.get(key), other.get(key), f"{at}.{key}" if at else key)
    elif one != other:
        yield at, _spelled(one), _spelled(other)


def _spelled(value: Any) -> str:
    text = "nothing" if value is None else canonical_json(value)
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."
