"""LAION's aesthetic score: how people would rate an image, whatever it shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from rcm_bench.benchmarks._preference import Preference
from rcm_bench.scorers.judges import AestheticSettings
from rcm_bench.types import MetricInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark(Preference):
    """LAION's head on CLIP's image features.

    Args:
        network: Which weights; where they are not there, the error names the published ones.
    """

    network: AestheticSettings

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "aesthetic"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "mean": MetricInfo(
            title="Aesthetic score",
            unit="points",
            higher_is_better=True,
            about="Predicted rating of the image, about 1 to 10.",
            headline=True,
        )
    }
