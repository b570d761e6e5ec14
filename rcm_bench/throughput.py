"""Rows of throughput in the table of timings, from the rounds that a run measured itself."""

import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rcm_bench.faults import message_of

if TYPE_CHECKING:
    from rcm_bench.types import WorkItem

BENCHMARK = "throughput"
MEGABYTE = 1e6
NAN = float("nan")


class Peak:
    """The most memory of a stretch of work.

    Args:
        device: torch's name of the device; anything but CUDA is measured by the process.
    """

    def __init__(self, device: str) -> None:
        self.cuda, self._others = device.startswith("cuda"), 0

    def start(self, own: int | None = None) -> None:
        """Forget earlier peaks of a CUDA device; those of a process cannot be forgotten.

        Args:
            own: Bytes on a CUDA device that belong to the work already; all else that is
                allocated then, such as other models' weights, is left out. None: nothing is.
        """
        if self.cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
            self._others = 0 if own is None else torch.cuda.memory_allocated() - own

    def bytes(self) -> int:
        """Return the peak since the start: allocated on CUDA, else the largest resident set."""
        if self.cuda:
            import torch

            return int(torch.cuda.max_memory_allocated()) - self._others
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(largest if sys.platform == "darwin" else largest * 1024)

    @property
    def kind(self) -> str:
        """Say what is measured."""
        return "CUDA allocated" if self.cuda else "resident set of the process so far"


def rounds_of(benchmarks: Mapping[str, Any], default: int) -> int:
    """Return how many rounds a suite asks for."""
    return int((benchmarks.get(BENCHMARK) or {}).get("rounds") or default)


def seconds_of(benchmarks: Mapping[str, Any]) -> float:
    """Return after how many seconds of its rounds a cell is timed no more."""
    return float((benchmarks.get(BENCHMARK) or {}).get("most_seconds") or "inf")


def beside(benchmarks: Mapping[str, Any], model: Any, item: "WorkItem") -> dict[str, Any]:
    """Measure what belongs to a timing but not to its total: text, and the kernels' deviation.

    Args:
        benchmarks: The suite's.
        model: A loaded model.
        item: One of its items.

    Returns:
        ``text`` (seconds of one prompt) and ``deviation`` (by part ``plain`` and ``here``), and
        under ``reasons`` why one is not there: a measurement that fails loses nothing else.
    """
    if BENCHMARK not in benchmarks:
        return {}
    found: dict[str, Any] = {"reasons": {}}
    text = _tried(getattr(model, "text_seconds", _keeps_no_text), item)
    if isinstance(text, str):
        found["reasons"]["text"] = text
    else:
        found["text"] = [round(each, 6) for each in text]
    if not (benchmarks[BENCHMARK] or {}).get("measure_deviation"):
        found["reasons"]["deviation"] = "not asked for: 'throughput: {measure_deviation: true}'"
    elif (measure := getattr(model, "deviations", None)) is None:
        found["reasons"]["deviation"] = "this kind of model has one way to compute it"
    elif isinstance(parts := _tried(measure, item, seconds_of(benchmarks)), str):
        found["reasons"]["deviation"] = parts
    else:
        found["deviation"] = {part: each._asdict() for part, each in parts.measured.items()}
        found["reasons"] |= {f"deviation_{part}": why for part, why in parts.reasons.items()}
    return found


def _keeps_no_text(_: "WorkItem") -> str:
    return "this kind of model keeps no text apart"


def _tried(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a measurement gives, or what it failed with."""
    try:
        return work(*arguments)
    except Exception as fault:  # times that are measured already must not be lost by it
        return f"failed: {message_of(fault)}"


def throughput_rows(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield metric, value, interval, unit and method of one timing record.

    A record of a version that measured seconds alone gives neither parts nor memory.

    Args:
        record: A timing record: ``seconds`` of each round, ``parts`` (name to seconds of each
            round), ``frames`` of a sample, ``peak_bytes`` and ``memory``.
    """
    from rcm_bench.timing import median_interval

    how = "median of interleaved rounds, batch 1; bootstrap interval"
    low, value, high = median_interval(record["seconds"])
    whole = {"value": value, "low": low, "high": high, "method": how}
    yield {"metric": "seconds_per_sample", "unit": "s/sample", **whole}
    # Of a monotone function the interval is the function of the ends.
    rate = {"value": 1 / value, "low": 1 / high, "high": 1 / low, "method": how}
    yield {"metric": "samples_per_second", "unit": "samples/s", **rate}
    frames = int(record.get("frames", 1))
    if frames > 1:
        scaled = {name: frames * rate[name] for name in ("value", "low", "high")}  # type: ignore[operator]
        yield {"metric": "frames_per_second", "unit": "frames/s", **rate, **scaled}
    for part, seconds in sorted(record.get("parts", {}).items()):
        low, value, high = median_interval(seconds)
        ends = {"value": value, "low": low, "high": high, "unit": "s/sample", "method": how}
        yield {"metric": f"seconds: {part}", **ends}
    for part, found in sorted((record.get("deviation") or {}).items()):
        if found["plain"]:
            yield {
                "metric": f"deviation: {part}",
                **{"value": found["here"] / found["plain"], "low": NAN, "high": NAN},
                "unit": "of plain",
                "method": "RMS distance to float32, over diffusers' as it comes; no interval",
            }
    if "peak_bytes" in record:
        yield {
            "metric": "peak_memory",
            "unit": "MB",
            "value": record["peak_bytes"] / MEGABYTE,
            "low": NAN,
            "high": NAN,
            "method": f"largest of all rounds, batch 1; {record['memory']}; no interval",
        }


def parts_of(rounds: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return the seconds of each part by round; a part that one round lacks took none in it."""
    names = sorted({name for each in rounds for name in each})
    return {name: [round(float(each.get(name, 0.0)), 6) for each in rounds] for name in names}
