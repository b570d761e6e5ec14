"""CMMD: how far the samples' law lies from the teacher's, in CLIP's features."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict

from rcm_bench.benchmarks._set_distance import SetDistance
from rcm_bench.features.clip import Settings as ClipSettings
from rcm_bench.types import MetricInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark(SetDistance):
    """CMMD of each cell against the teacher's samples.

    Args:
        clip: CLIP; published numbers have OpenAI's ViT-L-14-336-quickgelu.
    """

    clip: ClipSettings

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "cmmd"
    kind: ClassVar[str] = "clip"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "distance": MetricInfo(
            title="CMMD to the teacher",
            unit="1000 x squared distance",
            higher_is_better=False,
            about="1000 times the squared maximum mean discrepancy to the teacher's samples; 0 on "
            "average for the same law, and then as often below.",
            headline=True,
        )
    }

    def contributions(self) -> Callable[..., Any]:
        """Return what each sample adds to the distance."""
        from rcm_bench.statistics.discrepancy import contributions

        return contributions
