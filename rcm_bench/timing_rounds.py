"""Rounds of timing: one sample at a time, kept as they come; a failure loses its own cell alone."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rcm_bench.canonical import digest_of
from rcm_bench.faults import message_of, out_of_memory
from rcm_bench.media import encode
from rcm_bench.planning import Plan
from rcm_bench.progress import progress
from rcm_bench.store import RunStore, now
from rcm_bench.throughput import Peak, parts_of
from rcm_bench.types import Media, Model, WorkItem

Cell = tuple[str, int]
KEEP_SECONDS = 10.0  # what a process that is killed may lose of its rounds


def cell_id(model: str, steps: int) -> str:
    """Return the item id of a timing."""
    return digest_of(["timing", model, steps])[:16]


class Round(NamedTuple):
    """What one sample took."""

    seconds: float
    parts: Mapping[str, float]
    frames: int
    peak_bytes: int


def once(model: Model, item: WorkItem, peak: Peak, *, coded: bool = False) -> Round:
    """Time one sample.

    Args:
        model: A loaded model.
        item: What to make.
        peak: Watches the memory.
        coded: Whether to time the writing of a file too; it is never part of the total, since a
            file is written while the next sample is made.
    """
    held = getattr(model, "held_bytes", None)  # of models that stay on the device beside others
    peak.start(None if held is None else held())
    start = time.perf_counter()
    # Media are uint8 arrays on the CPU, so that a device has finished when they are there.
    (media,) = model.generate([item])
    seconds = time.perf_counter() - start
    assert isinstance(media, Media), "samples from elsewhere are not timed"
    frames = len(media.array) if media.array.ndim == 4 else 1
    parts, peak_bytes = dict(media.seconds), peak.bytes()
    if coded:
        start = time.perf_counter()
        encode(media)
        parts["encode"] = time.perf_counter() - start
    return Round(seconds, parts, frames, peak_bytes)


class Session:
    """The timing of all cells of a run on one device.

    Rounds are interleaved: each goes once through all cells, so that a slow moment of the machine
    falls on all of them alike. A round before them warms up and is not counted.

    Args:
        plan: The plan.
        cells: Model and steps of what is timed.
        models: Loaded models.
        store: The run.
        device: Name of the device, recorded with each timing.
        peak: Watches the memory.
    """

    def __init__(
        self,
        plan: Plan,
        cells: Sequence[Cell],
        models: Mapping[str, Model],
        store: RunStore,
        device: str,
        peak: Peak,
    ) -> None:
        self._models, self._store, self._device, self._peak = models, store, device, peak
        self._items = {c: [i for i in plan.items if (i.model, i.steps) == c] for c in cells}
        self._rounds: dict[Cell, list[Round]] = {cell: [] for cell in cells}
        self._failed: dict[Cell, str] = {}
        # The same for all records of a session: only within one are rounds paired.
        self._at, self._kept = now(), time.monotonic()

    def run(self, num_rounds: int, most_seconds: float, *, coded: bool) -> None:
        """Time all cells; what has been timed is kept also where the session is stopped.

        Args:
            num_rounds: How often.
            most_seconds: A cell that took so long is timed no more.
            coded: Whether to time the writing of files too.
        """
        ended = False
        try:
            with progress("Timing", len(self._items) * (num_rounds + 1), "samples") as advance:
                for turn in range(num_rounds + 1):
                    for cell in self._items:
                        taken = sum(each.seconds for each in self._rounds[cell])
                        if cell not in self._failed and taken < most_seconds:
                            self._one(cell, turn, coded=coded)
                        advance()
            ended = True
        finally:
            self._keep(ended=ended)

    def _one(self, cell: Cell, turn: int, *, coded: bool) -> None:
        model, item = self._models[cell[0]], self._items[cell][turn % len(self._items[cell])]
        try:
            if turn:
                self._rounds[cell].append(once(model, item, self._peak, coded=coded))
            else:
                warm_up = getattr(model, "warm_up", None)
                _ = warm_up(item) if warm_up is not None else once(model, item, self._peak)
        except Exception as fault:  # as in sampling: a record, and the other cells go on
            self._failed[cell] = message_of(fault)
            self._store.add([self._failure(cell, fault, turn)])
        if time.monotonic() - self._kept > KEEP_SECONDS:
            self._keep(ended=False)

    def _keep(self, *, ended: bool) -> None:
        self._store.add(list(self._records(ended)))
        self._kept = time.monotonic()

    def _records(self, ended: bool) -> Iterator[dict[str, Any]]:
        """Yield a record of each cell that has rounds; a session's last replaces the others."""
        for cell, rounds in self._rounds.items():
            if not rounds:
                continue
            stopped = self._failed.get(cell)
            yield {
                "kind": "timing",
                "status": "ok" if ended and stopped is None else "partial",
                "key": cell_id(*cell),
                "item_id": cell_id(*cell),
                "seconds": [round(each.seconds, 6) for each in rounds],
                "parts": parts_of([each.parts for each in rounds]),
                "frames": rounds[-1].frames,
                "peak_bytes": max(each.peak_bytes for each in rounds),
                "memory": self._peak.kind,
                **({"reasons": {"rounds": f"stopped by {stopped}"}} if stopped else {}),
                "device": self._device,
                "at": self._at,
            }

    def _failure(self, cell: Cell, fault: Exception, turn: int) -> dict[str, Any]:
        return {
            "kind": "failure",
            "key": cell_id(*cell),
            "item_id": cell_id(*cell),
            "stage": "timing",
            "status": "oom" if out_of_memory(fault) else "error",
            "message": f"round {turn}: {message_of(fault)}" if turn else message_of(fault),
            "attempts": 1,
            "at": now(),
        }
