"""status: what of a run is done, failed and still to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from rcm_bench.finish import missing_scores, open_run
from rcm_bench.live import heartbeat
from rcm_bench.store import Index
from rcm_bench.tables import run_tables
from rcm_bench.timing import has_timing, is_timed

_WINDOW_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CellStatus:
    """How far one model at one number of steps is."""

    model: str
    steps: int
    planned: int
    sampled: int
    failed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStatus:
    """How far a run is.

    Args:
        run_dir: The run folder.
        suite: Name of the suite.
        cells: One row for each model and number of steps.
        unscored: Samples that lack a score.
        timed: True if times were measured, or are not asked for.
        failures: What failed, as (what, message, how often).
        faults: Damaged records.
        idle_seconds: Time since the last sample was stored; None if there is none.
        rate: Samples per second over the last minutes before that; None if unknown.
        seconds_left: How long sampling still takes, by network evaluations; None if unknown.
        stage: What a process is doing on it now, such as ``"Scoring"``; None if none works on it.
    """

    run_dir: Path
    suite: str
    cells: list[CellStatus]
    unscored: int
    timed: bool
    failures: list[tuple[str, str, int]]
    faults: list[str]
    idle_seconds: float | None
    rate: float | None
    seconds_left: float | None
    stage: str | None

    @property
    def to_do(self) -> int:
        """Return how many samples are still to be made."""
        return sum(cell.planned - cell.sampled for cell in self.cells)

    @property
    def running(self) -> bool:
        """Return True if a process works on it now."""
        return self.stage is not None

    @property
    def whole(self) -> bool:
        """Return True if nothing is left to do."""
        sampled = all(cell.sampled == cell.planned for cell in self.cells)
        return sampled and not self.unscored and self.timed


def status(run: str | Path) -> RunStatus:
    """Count what a run's records say.

    Args:
        run: A run folder.

    Raises:
        UserError: It is no run folder.
    """
    opened = open_run(Path(run))
    plan, index = opened.plan, opened.store.index()
    tables = run_tables(plan, index, opened.benchmarks)
    cells = []
    for model, steps in plan.cells():
        own = tables.samples.query("model == @model and steps == @steps")["status"]
        cells.append(
            CellStatus(
                model=model,
                steps=steps,
                planned=len(own),
                sampled=int((own == "ok").sum()),
                failed=int((own == "failed").sum()),
            )
        )
    groups = tables.failures.groupby(["stage", "status", "message"], as_index=False)
    counted: Any = groups.size().rename(columns={"size": "times"}).itertuples()
    _, unscored = missing_scores(plan, index, opened.benchmarks, plan.limited(None))
    pace, beat = _pace(index), heartbeat(opened.store.root)
    evaluations = opened.store.manifest["plan"]["num_evaluations"]
    return RunStatus(
        run_dir=opened.store.root,
        suite=plan.suite.suite,
        cells=cells,
        unscored=unscored,
        timed=not has_timing(plan.suite.benchmarks) or is_timed(plan, index),
        failures=[(f"{r.stage} {r.status}", str(r.message), int(r.times)) for r in counted],
        faults=index.faults,
        idle_seconds=None if pace is None else pace.idle,
        rate=None if pace is None else pace.rate,
        seconds_left=None if pace is None else pace.seconds_left(evaluations),
        stage=None if beat is None else str(beat["stage"]),
    )


class _Pace(NamedTuple):
    """How fast samples came in lately.

    Attributes:
        idle: Seconds since the last one.
        rate: Samples per second over the last minutes before that; None if unknown.
        speed: Network evaluations per second in that time; None if unknown.
        evaluations: Network evaluations that the samples took that are there.
    """

    idle: float
    rate: float | None
    speed: float | None
    evaluations: int

    def seconds_left(self, planned: int) -> float | None:
        """Return how long the other evaluations take: samples of many steps count for more."""
        return max(planned - self.evaluations, 0) / self.speed if self.speed else None


def _pace(index: Index) -> _Pace | None:
    stored = sorted(
        (datetime.fromisoformat(record["at"]).timestamp(), _evaluations(record))
        for record in index.samples.values()
        if "from" not in record
    )
    if not stored:
        return None
    last = stored[-1][0]
    recent = [(at, nfe) for at, nfe in stored if at > last - _WINDOW_SECONDS]
    # The first batch of the window was made before it: only what followed has a duration.
    later = [nfe for at, nfe in recent if at > recent[0][0]]
    seconds = last - recent[0][0]
    return _Pace(
        idle=datetime.now(UTC).timestamp() - last,
        rate=len(later) / seconds if later else None,
        speed=sum(later) / seconds if later else None,
        evaluations=sum(map(_evaluations, index.samples.values())),
    )


def _evaluations(record: Mapping[str, Any]) -> int:
    """Return what a sample cost this run: nothing if it was made elsewhere."""
    return int(record["nfe"] or 0)
