"""Throughput: samples per second, seconds of each part, network evaluations, peak memory.

Measured anew in the run itself, one sample at a time, never taken from a cache or another run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import ConfigDict, Field

from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """Speed and memory of each model and number of steps; nothing is scored.

    Args:
        rounds: How often each cell is timed, after a warm-up.
        measure_deviation: Measure also how far the kernels lead from the float32 result, beside
            those of diffusers as it comes.
        most_seconds: A cell whose rounds have taken so long is timed no more: a teacher of a minute
            a sample need not take as many as a student of two seconds. With fewer than three
            rounds there is no interval.
    """

    rounds: Annotated[int, Field(ge=1, description="Timed rounds after a warm-up [8]")] | None = (
        None
    )
    measure_deviation: Annotated[
        bool, Field(description="Measure how far the chosen kernels lead from float32")
    ] = False
    most_seconds: (
        Annotated[float, Field(gt=0, description="Time a cell no more after so long [no limit]")]
        | None
    ) = None
    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "throughput"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "samples_per_second": MetricInfo(
            title="Throughput",
            unit="samples/s",
            higher_is_better=True,
            about="Samples per second, one at a time, decoding included.",
            headline=True,
        ),
        "seconds_per_sample": MetricInfo(
            title="Time",
            unit="s/sample",
            higher_is_better=False,
            about="Seconds that one sample takes, decoding included.",
        ),
        "frames_per_second": MetricInfo(
            title="Frames",
            unit="frames/s",
            higher_is_better=True,
            about="Frames per second of generation, one video at a time, decoding included.",
        ),
        "peak_memory": MetricInfo(
            title="Peak memory",
            unit="MB",
            higher_is_better=False,
            about="Most memory while one sample was made: allocated on a CUDA device, else the "
            "process's largest resident set so far.",
        ),
        "nfe": MetricInfo(
            title="Network evaluations",
            unit="evaluations",
            higher_is_better=False,
            about="Evaluations of the network for one sample; guidance counts twice.",
        ),
    }

    def scorer(self) -> None:
        """Return nothing: speed is measured by the run."""

    def measure(
        self,
        samples: "pd.DataFrame",
        scores: "pd.DataFrame",
        *,
        failures: "Failures" = "exclude_and_flag",
    ) -> "dict[str, Measured]":
        """Average the recorded network evaluations; the rest belongs to the table of timings.

        Args:
            samples: The samples table; its column ``nfe`` is read.
            scores: Unused.
            failures: Has no meaning here.
        """
        from rcm_bench.measured import evaluations

        return {"nfe": evaluations(samples)}
