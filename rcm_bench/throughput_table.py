"""The table of throughput: one row for each cell of a run, what is missing with its reason. Pure.

A student is compared with the teacher that has its kernels, compilation and decoder; the ratio to
the teacher as diffusers has it, which published speed-ups are, stands in a column of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rcm_bench.diffusion.families import COSMOS, WAN
from rcm_bench.diffusion.kernels import PLAIN
from rcm_bench.diffusion.shapes import SPATIAL, TEMPORAL
from rcm_bench.diffusion.work import decode_flops, evaluation_flops, peak_of
from rcm_bench.planning import Plan
from rcm_bench.published import published_scores
from rcm_bench.store import Index
from rcm_bench.throughput import BENCHMARK, MEGABYTE
from rcm_bench.timing import median_interval, record_of
from rcm_bench.timing_rounds import cell_id

NAN = float("nan")
PARTS = ("text", "network", "decode", "encode")
COLUMNS = [
    *("model", "sampler", "steps", "evaluations", "size", "kernels", "rounds"),
    *(f"{part}_seconds" for part in PARTS),
    *("seconds", "peak_megabytes", "frames_per_second", "low", "high"),
    *("speedup", "speedup_low", "speedup_high", "over_stock_teacher"),
    *("published_frames_per_second", "over_published"),
    *("roofline_frames_per_second", "share_of_roofline"),
    *("deviation_network", "deviation_decode", "device", "reasons"),
]
_NOTHING_TO_LOSE = "computed as diffusers has it, or in float32"
_PUBLISHED = {"wan": "Wan2.1-T2V"}


class _Cell(NamedTuple):
    """A cell with its timing record, None where it was not timed, and why that failed last."""

    model: str
    steps: int
    sampler: str
    evaluations: int | None
    identity: Mapping[str, Any]
    record: Mapping[str, Any] | None
    failure: str

    @property
    def kernels(self) -> dict[str, Any]:
        return {key: self.identity[key] for key in PLAIN if key in self.identity}

    @property
    def frames(self) -> int:
        return int((self.record or {}).get("frames") or self.identity.get("frames") or 1)


def throughput_table(plan: Plan, index: Index) -> pd.DataFrame:
    """Return the table of a run; empty where the suite does not ask for throughput."""
    if BENCHMARK not in plan.suite.benchmarks:
        return pd.DataFrame(columns=COLUMNS)
    cells = [_cell(plan, index, *cell) for cell in plan.cells()]
    reference = plan.reference()
    teacher = plan.suite.models[reference.model].sampler
    teachers = [c for c in cells if (c.sampler, c.steps) == (teacher, reference.steps)]
    return pd.DataFrame([_row(cell, teachers) for cell in cells], columns=COLUMNS)


def _cell(plan: Plan, index: Index, model: str, steps: int) -> _Cell:
    own = [i for i in plan.items if (i.model, i.steps) == (model, steps)]
    made = [index.samples[i.sample_key] for i in own if i.sample_key in index.samples]
    failures = index.failures.get(cell_id(model, steps), [])
    last = max(failures, key=lambda record: str(record["at"]), default=None)
    return _Cell(
        model=model,
        steps=steps,
        sampler=plan.suite.models[model].sampler,
        evaluations=int(made[0]["nfe"]) if made else None,
        identity=plan.identities[model],
        record=record_of(index, model, steps),
        failure=str(last["message"]) if last else "",
    )


def _row(cell: _Cell, teachers: Sequence[_Cell]) -> dict[str, Any]:
    size, record = _size(cell.identity), cell.record
    row: dict[str, Any] = {
        "model": cell.model,
        "sampler": cell.sampler,
        "steps": cell.steps,
        "evaluations": cell.evaluations,
        "size": size,
        "kernels": _spelled(cell.kernels),
    }
    if record is None:
        why = f" ({_one_reason(cell.failure)})" if cell.failure else ""
        return {**row, "reasons": f"not timed: run the suite again{why}"}
    reasons = dict(record.get("reasons") or {})
    low, seconds, high = median_interval(record["seconds"])
    row |= {
        "rounds": len(record["seconds"]),
        "seconds": seconds,
        "frames_per_second": cell.frames / seconds,
        "low": cell.frames / high,
        "high": cell.frames / low,
        "peak_megabytes": record["peak_bytes"] / MEGABYTE,
        "device": record["device"],
    }
    row |= _parts(record, reasons) | _ratios(cell, teachers, reasons)
    row |= _published(cell, size, row["frames_per_second"], reasons)
    row |= _roofline(cell, row["frames_per_second"], reasons)
    told = (f"{what}: {_one_reason(why)}" for what, why in reasons.items())
    return {**row, "reasons": "; ".join(told)}


def _one_reason(message: str) -> str:
    """Return the first line of a message without what separates reasons."""
    return (message.splitlines() or [""])[0].replace("; ", ", ")


def _parts(record: Mapping[str, Any], reasons: dict[str, str]) -> dict[str, float]:
    known = {**record["parts"], **({"text": record["text"]} if "text" in record else {})}
    for part in PARTS:
        if part not in known:
            reasons.setdefault(part, "this kind of model does not time it apart")
    found = {f"{part}_seconds": float(np.median(known[part])) for part in PARTS if part in known}
    for part in ("network", "decode") if "deviation" in record else ():
        each = record["deviation"].get(part)
        if each is None or not each["plain"]:
            reasons.setdefault(f"deviation_{part}", _NOTHING_TO_LOSE)
        else:
            found[f"deviation_{part}"] = each["here"] / each["plain"]
    return found


def _ratios(
    cell: _Cell, teachers: Sequence[_Cell], reasons: dict[str, str]
) -> dict[str, float | None]:
    """Return how many times as fast as the teachers; rounds are paired, since they interleave."""
    alike = [t for t in teachers if t.record and _work(t) == _work(cell)]
    same = next((t for t in alike if t.kernels == cell.kernels), None)
    stock = next((t for t in alike if not t.kernels), None)
    found: dict[str, float | None] = {}
    if same is None:
        reasons["speedup"] = "no teacher of this size and shape was timed with these kernels"
    elif same != cell:
        low, middle, high = _times_as_fast(cell, same)
        found |= {"speedup": middle, "speedup_low": low, "speedup_high": high}
    if stock is None:
        reasons["over_stock_teacher"] = "no teacher was timed as diffusers has it"
    elif stock != cell:
        found["over_stock_teacher"] = _times_as_fast(cell, stock)[1]
    return found


def _times_as_fast(cell: _Cell, teacher: _Cell) -> tuple[float, float, float]:
    """Return the median ratio of the teacher's seconds to the cell's between its bounds."""
    # The slower one may have stopped after fewer rounds: those that both took are paired.
    both = [(each.record or {})["seconds"] for each in (teacher, cell)]
    pairs = np.asarray(list(zip(*both, strict=False)))
    return median_interval(pairs[:, 0] / pairs[:, 1])


def _work(cell: _Cell) -> tuple[Any, ...]:
    """Return what two cells must share for a speed-up to mean anything."""
    kept = ("kind", "architecture", "resolution", "frames", "dtype", "decode_dtype")
    return (*(cell.identity.get(key) for key in kept), (cell.record or {}).get("device"))


def _published(
    cell: _Cell, size: str | None, rate: float, reasons: dict[str, str]
) -> dict[str, float]:
    """Return the rCM paper's figure for the same size, shape, steps and kind of sampler."""
    height, width = cell.identity.get("resolution") or (0, 0)
    table = published_scores()
    found = table[
        (table["metric"] == "throughput")
        & (table["model"] == _PUBLISHED.get(str(cell.identity.get("kind")), ""))
        & (table["params"] == (size or ""))
        & (table["steps"] == cell.steps)
        & (table["method"] == ("rCM" if cell.evaluations == cell.steps else "teacher"))
        & (table["resolution"] == f"{width}x{height}x{cell.frames}")
    ]
    if found.empty:
        reasons["published"] = "nothing is published for this size, shape and number of steps"
        return {}
    value = float(found["value"].iloc[0])
    return {"published_frames_per_second": value, "over_published": rate / value}


def _roofline(cell: _Cell, rate: float, reasons: dict[str, str]) -> dict[str, float]:
    """Return the frames a second if every operation ran at the GPU's dense bfloat16 peak."""
    assert cell.record is not None
    peak, config = peak_of(str(cell.record["device"])), cell.identity.get("architecture")
    if peak is None:
        reasons["roofline"] = "the peak of this device is not known here"
    elif not config or cell.evaluations is None or cell.identity.get("dtype") != "bfloat16":
        reasons["roofline"] = "operations are counted for Wan2.1 and Cosmos-Predict2 in bfloat16"
    else:
        height, width = cell.identity["resolution"]
        latent = (16, (cell.frames - 1) // TEMPORAL + 1, height // SPATIAL, width // SPATIAL)
        flops = cell.evaluations * evaluation_flops(config, latent)
        flops += decode_flops(height * width, cell.frames)
        best = cell.frames * peak / flops
        return {"roofline_frames_per_second": best, "share_of_roofline": rate / best}
    return {}


def _size(identity: Mapping[str, Any]) -> str | None:
    """Return the name of a published size, by its configuration."""
    config = identity.get("architecture") or {}
    keys = ("num_layers", "num_attention_heads")
    for family in (WAN, COSMOS):
        for name, known in family.architectures.items():
            if family.name == identity.get("kind") and all(
                config.get(key) == known[key] for key in keys
            ):
                return name.partition("-")[0]
    return None


def _spelled(kernels: Mapping[str, Any]) -> str:
    said = [f"{key}: {value}".lower() for key, value in kernels.items()]
    return ", ".join(said) or "as diffusers has it"
