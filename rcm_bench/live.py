"""What can be seen of a run while it goes on: a page, rewritten every few seconds, and a heartbeat.

Both are made from the records, by a thread that reads only what is new in them, so that sampling
and scoring know nothing of it and the work of other workers is seen too. What the thread spends is
kept under 1/SHARE of the time by resting so much longer after each turn, but for the first, which
reads all that a resumed run holds.
"""

import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcm_bench.planning import Plan
from rcm_bench.store import RunStore

if TYPE_CHECKING:
    from rcm_reports.live import LiveState

HEARTBEAT = ".live.json"
FIRST_SECONDS = 1.0
SECONDS = 3.0
SHARE = 400
_LONGEST_REST = 60.0
_LAST_STAGE = "Writing the report"
ALIVE_SECONDS = 30.0
_WINDOW_SECONDS = 60.0
Cell = tuple[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What an invocation is to do.

    Args:
        plan: The plan.
        prompt_ids: The prompts that it asks for.
        evaluations: Network evaluations of one sample, by (model, steps).
        scorers: How many different scorers run over a sample, on average.
        untimed: True if times are still to be measured.
        command: What goes on with the run if it is stopped.
    """

    plan: Plan
    prompt_ids: frozenset[str]
    evaluations: Mapping[Cell, int]
    scorers: float
    untimed: bool
    command: str


class Tail:
    """New records of a folder, each file read from where it was left."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._offsets = folder, Counter[str]()

    def new(self) -> Iterator[dict[str, Any]]:
        """Yield the records that have come since the last call; half lines wait."""
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._offsets[path.name])
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path.name] += len(whole)
            for line in whole.splitlines():
                with suppress(ValueError):  # a damaged record is told by the report
                    yield json.loads(line)


@dataclass(kw_only=True, slots=True)
class Counts:
    """What the records say so far."""

    sampled: dict[str, Cell] = field(default_factory=dict)
    failed: dict[str, Cell] = field(default_factory=dict)
    scored: set[str] = field(default_factory=set)
    timed: bool = False
    messages: Counter[str] = field(default_factory=Counter)


class Watch:
    """Turns records into the state of a run."""

    def __init__(self, store: RunStore, asked: Asked) -> None:
        self._asked, self._tail, self._counts = asked, Tail(store.root / "records"), Counts()
        items = [item for item in asked.plan.items if item.prompt_id in asked.prompt_ids]
        self._by_key = {item.sample_key: (item.model, item.steps) for item in items}
        self._by_id = {item.item_id: (item.sample_key, (item.model, item.steps)) for item in items}
        self._total = Counter((item.model, item.steps) for item in items)
        self._history: deque[tuple[float, str, int, int]] = deque()

    def state(self, stopped: str = "") -> "LiveState":
        """Read what is new and say how far the run is."""
        from rcm_reports.live import LiveCell, LiveState

        for record in self._tail.new():
            self._take(record)
        counts = self._counts
        sampled, failed = Counter(counts.sampled.values()), Counter(counts.failed.values())
        stage, done, total, unit = self._stage(len(counts.sampled) + len(counts.failed))
        weight = self._evaluations(sampled + failed) if stage == "Sampling" else done
        whole = self._evaluations(self._total) if stage == "Sampling" else total
        rate, speed = self._pace(stage, done, weight)
        return LiveState(
            suite=self._asked.plan.suite.suite,
            stage=stage,
            done=done,
            total=total,
            unit=unit,
            rate=rate,
            left=(whole - weight) / speed if speed else None,
            cells=[
                LiveCell(*cell, asked, sampled[cell], failed[cell])
                for cell in self._asked.plan.cells()
                if (asked := self._total[cell])
            ],
            failures=counts.messages,
            at=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            stopped=stopped,
            command=self._asked.command,
        )

    def _take(self, record: Mapping[str, Any]) -> None:
        counts, kind = self._counts, record.get("kind")
        if kind == "sample" and record["key"] in self._by_key:
            counts.sampled[record["key"]] = self._by_key[record["key"]]
            counts.failed.pop(record["key"], None)
        elif kind == "score" and record["item_id"] in self._by_id:
            counts.scored.add(record["key"])
        elif kind == "timing" and record["status"] == "ok":
            counts.timed = True
        elif kind == "failure" and record["item_id"] in self._by_id:
            key, cell = self._by_id[record["item_id"]]
            counts.messages[f"{record['stage']} {record['status']}: {record['message']}"] += 1
            if record["stage"] == "sample" and key not in counts.sampled:
                counts.failed[str(key)] = cell

    def _stage(self, dealt_with: int) -> tuple[str, int, int, str]:
        counts, total = self._counts, sum(self._total.values())
        if dealt_with < total:
            return "Sampling", dealt_with, total, "samples"
        if self._asked.untimed and not counts.timed:
            return "Timing", 0, 0, "samples"
        scores = round(len(counts.sampled) * self._asked.scorers)
        if len(counts.scored) < scores:
            return "Scoring", len(counts.scored), scores, "scores"
        return _LAST_STAGE, 0, 0, ""

    def _evaluations(self, cells: Mapping[Cell, int]) -> int:
        return sum(self._asked.evaluations.get(cell, 1) * times for cell, times in cells.items())

    def _pace(self, stage: str, done: int, weight: int) -> tuple[float | None, float | None]:
        """Return units and network evaluations a second over the last minute of this stage."""
        now, history = time.monotonic(), self._history
        history.append((now, stage, done, weight))
        while history[0][1] != stage or now - history[0][0] > _WINDOW_SECONDS:
            history.popleft()
        seconds = now - history[0][0]
        if not seconds or weight == history[0][3]:
            return None, None
        return (done - history[0][2]) / seconds, (weight - history[0][3]) / seconds


class Live:
    """The thread that keeps page and heartbeat up to date."""

    def __init__(self, store: RunStore, asked: Asked) -> None:
        self._root, self._watch = store.root, Watch(store, asked)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live-page", daemon=True)
        self.spent = 0.0

    def start(self) -> None:
        """Begin; the first page comes after a second, so that a run without work shows none."""
        self._thread.start()

    def stop(self) -> None:
        """End, and take the heartbeat away."""
        self._over.set()
        self._thread.join()
        (self._root / HEARTBEAT).unlink(missing_ok=True)

    def stopped(self, why: str) -> None:
        """End, and leave a page that says that the run stands still and how to go on."""
        self.stop()
        with suppress(OSError):  # the disk may be what is full
            self._show(self._watch.state(why))

    def _work(self) -> None:
        import rcm_reports.live  # noqa: F401  # the report needs it anyway; not a cost of this

        rest, first = FIRST_SECONDS, True
        while not self._over.wait(rest):
            began = time.thread_time()
            with suppress(OSError):  # a page that cannot be written must not end the run
                self._write()
            cost = time.thread_time() - began
            self.spent += cost
            rest = SECONDS if first else max(SECONDS, min(SHARE * cost, _LONGEST_REST))
            first = False

    def _write(self) -> None:
        state = self._watch.state()
        beat = {"at": time.time(), "stage": state.stage, "done": state.done, "total": state.total}
        temporary = self._root / f"{HEARTBEAT}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(beat), encoding="utf-8")
        os.replace(temporary, self._root / HEARTBEAT)
        self._show(state)

    def _show(self, state: "LiveState") -> None:
        from rcm_reports.live import render_live

        if state.stage != _LAST_STAGE:  # nothing is left to do: a report that is there stays
            render_live(state, self._root / "report")


@contextmanager
def live(store: RunStore, asked: Asked) -> Iterator[Live]:
    """Show how far a run is while something is done; say that it is stopped if that fails."""
    shown = Live(store, asked)
    shown.start()
    try:
        yield shown
    except BaseException as fault:
        shown.stopped(_reason(fault))
        raise
    shown.stop()


def _reason(fault: BaseException) -> str:
    if isinstance(fault, KeyboardInterrupt):
        return "This run was interrupted."
    text = str(fault).strip().splitlines()
    return f"This run was stopped by a fault: {text[0] if text else type(fault).__name__}"


def heartbeat(root: Path) -> dict[str, Any] | None:
    """Return what a run that is going on said last; None if nobody works on it.

    A process that was killed leaves its last beat behind, which is then too old.
    """
    try:
        beat: dict[str, Any] = json.loads((root / HEARTBEAT).read_text(encoding="utf-8"))
        return beat if time.time() - float(beat["at"]) < ALIVE_SECONDS else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
