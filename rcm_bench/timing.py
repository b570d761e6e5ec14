"""Seconds per image: one image at a time, interleaved rounds, median with a bootstrap interval."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rcm_bench import throughput
from rcm_bench.planning import Plan
from rcm_bench.store import Index, RunStore, now
from rcm_bench.throughput import Peak
from rcm_bench.timing_rounds import Session, cell_id
from rcm_bench.types import Model
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


def is_timed(plan: Plan, index: Index) -> bool:
    """Say whether every cell of the plan has been timed whole in this run."""
    return _rounds_whole(plan, index) and not _lacking(plan, index)


def _rounds_whole(plan: Plan, index: Index) -> bool:
    records = [record_of(index, *cell) for cell in sampled_cells(plan)]
    return all(record is not None and record["status"] == "ok" for record in records)


def _lacking(plan: Plan, index: Index) -> list[tuple[str, int]]:
    """Return a cell of each model of which what stands beside its times is not there yet.

    Runs from before it was a record of its own have it in their timings, with the reasons.
    """
    if throughput.BENCHMARK not in plan.suite.benchmarks:
        return []
    first = {cell[0]: cell for cell in reversed(sampled_cells(plan))}
    records = {model: record_of(index, *cell) for model, cell in first.items()}
    return [
        first[model]
        for model, record in records.items()
        if model not in index.beside and "reasons" not in (record or {})
    ]


def timing_faults(plan: Plan, index: Index) -> list[str]:
    """Say which cells could not be timed, and why."""
    said = []
    for model, steps in sampled_cells(plan):
        record = record_of(index, model, steps)
        failures = index.failures.get(cell_id(model, steps), [])
        if failures and (record is None or record["status"] != "ok"):
            last = max(failures, key=lambda failure: str(failure["at"]))
            said.append(f"timing {model} at {steps} steps failed: {last['message']}")
    return said


def record_of(index: Index, model: str, steps: int) -> dict[str, Any] | None:
    """Return a cell's newest timing with what was measured beside it, None if there is none."""
    records = index.timings.get(cell_id(model, steps), [])
    if not records:
        return None
    beside = index.beside.get(model, {})
    reasons = {**(records[0].get("reasons") or {}), **(beside.get("reasons") or {})}
    extra: dict[str, Any] = {k: beside[k] for k in ("text", "deviation") if k in beside}
    if reasons or beside:
        extra["reasons"] = reasons
    return {**records[0], **extra}


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
    """Time every cell of the plan, then what stands beside; never taken from another run.

    Args:
        plan: The plan.
        models: Loaded models.
        store: The run.
        device: Name of the device, recorded with each timing.
        torch_device: torch's name of the device, whose memory is watched.
    """
    asked, peak = plan.suite.benchmarks, Peak(torch_device)
    cells = sampled_cells(plan)
    if not _rounds_whole(plan, store.index()):
        session = Session(plan, cells, models, store, device, peak)
        session.run(
            throughput.rounds_of(asked, ROUNDS),
            throughput.seconds_of(asked),
            coded=throughput.BENCHMARK in asked,
        )
    # Only now: what is measured beside the times may fail, and takes memory that they need not see.
    for model, steps in _lacking(plan, store.index()):
        item = next(i for i in plan.items if (i.model, i.steps) == (model, steps))
        found = throughput.beside(asked, models[model], item)
        named = {"kind": "beside", "status": "ok", "key": model, "item_id": model}
        store.add([{**named, **found, "model": model, "at": now()}])


def timing_table(plan: Plan, index: Index) -> pd.DataFrame:
    """Return median seconds per image with its interval, and throughput if it is asked for."""
    rows: list[dict[str, Any]] = []
    asked = plan.suite.benchmarks
    for model, steps in plan.cells():
        if (record := record_of(index, model, steps)) is not None:
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
