"""Sampling: ask the store what is missing, make it batch by batch, lose nothing."""

import os
import queue
import threading
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

from rcm_bench.errors import UserError
from rcm_bench.faults import message_of, out_of_memory
from rcm_bench.media import encode, flags_of
from rcm_bench.planning import Plan
from rcm_bench.progress import Advance, progress
from rcm_bench.store import Index, RunStore, now
from rcm_bench.types import Brought, Media, Model, WorkItem

_MOST_ENCODERS = 4
Made = tuple[WorkItem, Media | Brought]


class StoppedByFailureError(UserError):
    """A sample failed in a suite that says ``failures: stop``."""

    exit_code = 4  # incomplete: what there is stays, and running again goes on


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A planned batch of which something is missing.

    Args:
        generate: What is generated together, so that the bits are those of the plan.
        keep: Item ids of those that are missing.
        split: True if the batch failed before, so that its items go one by one.
    """

    generate: list[WorkItem]
    keep: frozenset[str]
    split: bool


def missing_work(plan: Plan, index: Index, prompt_ids: frozenset[str]) -> list[Work]:
    """Find the planned batches that touch the chosen prompts and are not complete.

    A batch is generated whole, as if nothing of it were there, so that an interrupted run gives
    the same bits as an uninterrupted one. What was taken from another run is left out: it is
    there before the first batch is made.
    """
    work = []
    for batch in plan.batches():
        if not any(item.prompt_id in prompt_ids for item in batch):
            continue
        keep = frozenset(item.item_id for item in batch if item.sample_key not in index.samples)
        if not keep:
            continue
        split = any(_failed(index, item) for item in batch)
        if split:
            generate = [item for item in batch if item.item_id in keep]
        else:
            generate = [item for item in batch if not _adopted(index, item)]
        work.append(Work(generate=generate, keep=keep, split=split))
    return work


def _adopted(index: Index, item: WorkItem) -> bool:
    record = index.samples.get(item.sample_key or "")
    return record is not None and "from" in record


def _failed(index: Index, item: WorkItem) -> bool:
    return any(record["stage"] == "sample" for record in index.failures.get(item.item_id, ()))


class _BatchWriter:
    """Encodes batches beside the sampling, several files at a time, and stores them in order."""

    def __init__(self, store: RunStore, advance: Advance, device: str) -> None:
        self._store, self._advance, self._device = store, advance, device
        self._most = encoders()
        self._pool = ThreadPoolExecutor(self._most, "encoder")
        self._queue: queue.SimpleQueue[list[Future[_Coded]] | None] = queue.SimpleQueue()
        self._stored, self._waiting = threading.Condition(), 0
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="batch-writer", daemon=True)

    def __enter__(self) -> "_BatchWriter":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None
    ) -> None:
        # Also on an interrupt: what has been generated is stored before the process ends.
        self._queue.put(None)
        try:
            self._thread.join()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._fault is not None and (fault is None or fault is not self._fault):
            raise self._fault

    def put(self, made: "list[Made]") -> None:
        """Hand over a batch, when few enough wait; raises what went wrong with an earlier one."""
        with self._stored:
            self._stored.wait_for(lambda: self._waiting <= self._most + len(made))
            if self._fault is not None:
                raise self._fault
            self._waiting += len(made)
        self._queue.put([self._pool.submit(_coded, *each, self._device) for each in made])

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                if self._fault is None:
                    coded = [each.result() for each in batch]
                    self._store.add_samples([c.record for c in coded], [c.data for c in coded])
                    self._advance(len(batch))
            except BaseException as fault:  # handed to the sampling thread, which raises it
                self._fault = fault
            for each in batch:
                each.cancel()  # of a batch that failed or comes after it; others are done
            with self._stored:
                self._waiting -= len(batch)
                self._stored.notify()


class _Coded(NamedTuple):
    """A sample's record and file."""

    record: dict[str, Any]
    data: bytes


def _coded(item: WorkItem, media: Media | Brought, device: str) -> _Coded:
    data = media.data if isinstance(media, Brought) else encode(media)
    return _Coded(_record(item, media, device), data)


def encoders() -> int:
    """Return how many files are encoded at a time, such that a processor is left for the sampling.

    One for every 5 processors but one: x264 is given 4 threads for a video, and another feeds them.
    One for every 4 GB: frames and encoder take 0.24 GB at 832x480x81, and more samples wait.
    """
    known = hasattr(os, "sched_getaffinity")
    processors = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return max(1, min(_MOST_ENCODERS, (processors - 1) // 5, int(gigabytes / 4)))


def _record(item: WorkItem, media: Media | Brought, device: str) -> dict[str, Any]:
    named = {"key": item.sample_key, "item_id": item.item_id}
    if isinstance(media, Brought):
        return {**named, "nfe": None, "flags": list(media.flags), "seconds": {}, "device": None}
    return {
        **named,
        "nfe": media.nfe,
        "flags": flags_of(media),
        "seconds": {part: round(value, 6) for part, value in media.seconds.items()},
        "device": device,
        **({"made": dict(media.made)} if media.made else {}),
    }


def sample(
    plan: Plan,
    models: Mapping[str, Model],
    store: RunStore,
    work: Sequence[Work],
    *,
    device: str,
) -> None:
    """Make and store what is missing.

    Args:
        plan: The plan.
        models: Loaded models by name.
        store: The run.
        work: What is missing, from ``missing_work``.
        device: Name of the device, recorded with each sample.

    Raises:
        StoppedByFailureError: A sample failed and the suite says ``failures: stop``.
    """
    total = sum(len(part.keep) for part in work)
    with (
        progress("Sampling", total, "samples") as advance,
        _BatchWriter(store, advance, device) as writer,
    ):
        for part in work:
            _fill(part, plan, models[part.generate[0].model], store, writer, advance)


def _fill(
    part: Work,
    plan: Plan,
    model: Model,
    store: RunStore,
    writer: _BatchWriter,
    advance: Advance,
) -> None:
    """Make one batch; if that keeps failing, its items one by one: one cannot spoil all."""
    groups = [[item] for item in part.generate] if part.split else [part.generate]
    while groups:
        group = groups.pop(0)
        attempts = plan.suite.run.retries + 1
        made, fault = _attempt(model, group, attempts)
        if made is not None:
            writer.put([pair for pair in made if pair[0].item_id in part.keep])
        elif len(group) > 1:
            groups = [[item] for item in group if item.item_id in part.keep] + groups
        else:
            assert fault is not None
            store.add([_failure(group[0], fault, attempts)])
            advance(1)
            if plan.suite.run.failures == "stop":
                raise StoppedByFailureError(
                    f"{group[0].model}, {group[0].steps} steps, prompt {group[0].prompt_id}: "
                    f"sampling failed and the suite says 'failures: stop': {message_of(fault)}"
                )


def _attempt(
    model: Model, group: list[WorkItem], attempts: int
) -> tuple[list[Made] | None, Exception | None]:
    fault: Exception | None = None
    for _ in range(attempts):
        try:
            return list(zip(group, model.generate(group), strict=True)), None
        except UserError:  # weights that do not fit: every other batch would read them again
            raise
        except Exception as caught:  # any fault of a model is a record, not the end of the run
            fault = caught
    return None, fault


def _failure(item: WorkItem, fault: Exception, attempts: int) -> dict[str, Any]:
    return {
        "kind": "failure",
        "key": item.sample_key,
        "item_id": item.item_id,
        "stage": "sample",
        "status": "oom" if out_of_memory(fault) else "error",
        "message": message_of(fault),
        "traceback": "".join(traceback.format_exception(fault)),
        "attempts": attempts,
        "at": now(),
    }
