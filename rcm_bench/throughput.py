"""Rows of throughput in the table of timings, from the rounds that a run measured itself."""

import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BENCHMARK = "throughput"
MEGABYTE = 1e6


class Peak:
    """The most memory of a stretch of work.

    Args:
        device: torch's name of the device; anything but CUDA is measured by the process.
    """

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")

    def start(self) -> None:
        """Forget earlier peaks of a CUDA device; those of a process cannot be forgotten."""
        if self.cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()

    def bytes(self) -> int:
        """Return the peak since the start: allocated on CUDA, else the largest resident set."""
        if self.cuda:
            import torch

            return int(torch.cuda.max_memory_allocated())
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(largest if sys.platform == "darwin" else largest * 1024)

    @property
    def kind(self) -> str:
        """Say what is measured."""
        return "CUDA allocated" if self.cuda else "resident set of the process so far"


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
    if "peak_bytes" in record:
        yield {
            "metric": "peak_memory",
            "unit": "MB",
            "value": record["peak_bytes"] / MEGABYTE,
            "low": float("nan"),
            "high": float("nan"),
            "method": f"largest of all rounds, batch 1; {record['memory']}; no interval",
        }


def parts_of(rounds: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return the seconds of each part by round; a part that one round lacks took none in it."""
    names = sorted({name for each in rounds for name in each})
    return {name: [round(float(each.get(name, 0.0)), 6) for each in rounds] for name in names}
