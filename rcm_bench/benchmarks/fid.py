"""FID: how far the samples' law lies from the teacher's, in Inception's features."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict

from rcm_bench.benchmarks._set_distance import SetDistance
from rcm_bench.features.inception import Settings as InceptionSettings
from rcm_bench.types import MetricInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark(SetDistance):
    """FID of each cell against the teacher's samples.

    Args:
        inception: The 2015 weights.
    """

    inception: InceptionSettings

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "fid"
    kind: ClassVar[str] = "inception"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "distance": MetricInfo(
            title="FID to the teacher",
            unit="squared distance",
            higher_is_better=False,
            about="Frechet distance to the teacher's samples; it shrinks with their number, so "
            "compare equal numbers only.",
            headline=True,
        )
    }

    def contributions(self) -> Callable[..., Any]:
        """Return what each sample adds to the distance."""
        from rcm_bench.statistics.frechet import contributions

        return contributions
