"""Seconds per image: one image at a time, interleaved rounds, median with a bootstrap interval."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rcm_bench import throughput
from rcm_bench.canonical import digest_of
from rcm_bench.media import encode
from rcm_bench.planning import Plan
from rcm_bench.progress import progress
from rcm_bench.store import Index, RunStore, now
from rcm_bench.throughput import Peak, parts_of
from rcm_bench.types import Media, Model, WorkItem
from rcm_bench.unrecorded import is_brought

BENCHMARK = "latency"
ROUNDS = 8
COLUMNS = [
    *("benchmark", "metric", "model", "sampler", "steps", "n"),
    *("value", "low", "high", "unit", "method", "device"),
]
_RESAMPLES = 2000
_FEWEST = 3  # rounds that give an interval
_LEVEL = 0.95


def cell_id(model: str, steps: int) -> str:
    """Return the item id of a timing."""
    return digest_of(["timing", model, steps])[:16]


def is_timed(plan: Plan, index: Index) -> bool:
    """Say whether every cell of the plan has been timed in this run."""
    return all(cell_id(*cell) in index.timings for cell in sampled_cells(plan))


def sampled_cells(plan: Plan) -> list[tuple[str, int]]:
    """Return the cells that are sampled here: of others there is no time to measure."""
    return [cell for cell in plan.cells() if not is_brought(plan.identities[cell[0]])]


def measure(
    plan: Plan,
    models: Mapping[str, Model],
    store: RunStore,
    device: str,
    torch_device: str = "cpu",
) -> None:
    """Time every cell of the plan and record it; never taken from another run.

    Rounds are interleaved: each goes once through all cells, so that a slow moment of the machine
    falls on all of them alike. A round before them warms up and is not counted.

    Args:
        plan: The plan.
        models: Loaded models.
        store: The run.
        device: Name of the device, recorded with each timing.
        torch_device: torch's name of the device, whose memory is watched.
    """
    cells = sampled_cells(plan)
    items = {cell: [i for i in plan.items if (i.model, i.steps) == cell] for cell in cells}
    rounds: dict[tuple[str, int], list[_Round]] = {cell: [] for cell in cells}
    peak, asked = Peak(torch_device), plan.suite.benchmarks
    num_rounds, coded = throughput.rounds_of(asked, ROUNDS), throughput.BENCHMARK in asked
    most_seconds = throughput.seconds_of(asked)
    first = {cell[0]: items[cell][0] for cell in reversed(cells)}
    extra = {name: throughput.beside(asked, models[name], item) for name, item in first.items()}
    with progress("Timing", len(cells) * (num_rounds + 1), "images") as advance:
        for turn in range(num_rounds + 1):
            for cell in cells:
                model, item = models[cell[0]], items[cell][turn % len(items[cell])]
                if sum(each.seconds for each in rounds[cell]) >= most_seconds:
                    pass
                elif turn:
                    rounds[cell].append(_once(model, item, peak, coded=coded))
                else:
                    getattr(model, "warm_up", lambda item, model=model: _once(model, item, peak))(
                        item
                    )
                advance()
    store.add(
        [
            {
                "kind": "timing",
                "status": "ok",
                "key": cell_id(*cell),
                "item_id": cell_id(*cell),
                "seconds": [round(each.seconds, 6) for each in rounds[cell]],
                "parts": parts_of([each.parts for each in rounds[cell]]),
                "frames": rounds[cell][-1].frames,
                "peak_bytes": max(each.peak_bytes for each in rounds[cell]),
                "memory": peak.kind,
                **extra[cell[0]],
                "device": device,
                "at": now(),
            }
            for cell in cells
        ]
    )


class _Round(NamedTuple):
    """What one sample took."""

    seconds: float
    parts: Mapping[str, float]
    frames: int
    peak_bytes: int


def _once(model: Model, item: WorkItem, peak: Peak, *, coded: bool = False) -> _Round:
    peak.start()
    start = time.perf_counter()
    # Media are uint8 arrays on the CPU, so that a device has finished when they are there.
    (media,) = model.generate([item])
    seconds = time.perf_counter() - start
    assert isinstance(media, Media), "samples from elsewhere are not timed"
    frames = len(media.array) if media.array.ndim == 4 else 1
    parts, peak_bytes = dict(media.seconds), peak.bytes()
    if coded:  # not in the total: a file is written while the next sample is made
        start = time.perf_counter()
        encode(media)
        parts["encode"] = time.perf_counter() - start
    return _Round(seconds, parts, frames, peak_bytes)


def timing_table(plan: Plan, index: Index) -> pd.DataFrame:
    """Return median seconds per image with its interval, and throughput if it is asked for."""
    rows: list[dict[str, Any]] = []
    asked = plan.suite.benchmarks
    for model, steps in plan.cells():
        for record in index.timings.get(cell_id(model, steps), [])[:1]:
            shared = {
                "model": model,
                "sampler": plan.suite.models[model].sampler,
                "steps": steps,
                "n": len(record["seconds"]),
                "device": record["device"],
            }
            if BENCHMARK in asked or throughput.BENCHMARK not in asked:
                rows.append({"benchmark": BENCHMARK, **shared, **_latency(record)})
            if throughput.BENCHMARK in asked:
                name = throughput.BENCHMARK
                made = throughput.throughput_rows(record)
                rows += [{"benchmark": name, **shared, **each} for each in made]
    return pd.DataFrame(rows, columns=COLUMNS)


def _latency(record: Mapping[str, Any]) -> dict[str, Any]:
    low, value, high = median_interval(record["seconds"])
    return {
        "metric": "seconds_per_image",
        **{"value": value, "low": low, "high": high, "unit": "s/image"},
        "method": "median of interleaved rounds, batch 1; bootstrap interval",
    }


def median_interval(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Return low end, median and high end of a 95 % percentile bootstrap of the median.

    The ends are NaN for fewer than three values: there is nothing to resample.
    """
    values = np.asarray(seconds, dtype=np.float64)
    if len(values) < _FEWEST:
        return float("nan"), float(np.median(values)), float("nan")
    draws = np.random.default_rng(0).integers(0, len(values), size=(_RESAMPLES, len(values)))
    medians = np.median(values[draws], axis=1)
    low, high = np.quantile(medians, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(np.median(values)), float(high)


def has_timing(benchmarks: Mapping[str, Any]) -> bool:
    """Say whether a suite asks for times."""
    return BENCHMARK in benchmarks or throughput.BENCHMARK in benchmarks
