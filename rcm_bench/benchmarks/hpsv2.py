"""HPSv2: what people are likely to prefer, by CLIP ViT-H-14 fine-tuned on their rankings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from rcm_bench.benchmarks._preference import Preference
from rcm_bench.scorers.judges import HpsSettings
from rcm_bench.types import MetricInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark(Preference):
    """HPSv2 by open_clip.

    Args:
        network: Which weights; where they are not there, the error names the published ones.
    """

    network: HpsSettings

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "hpsv2"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "mean": MetricInfo(
            title="HPSv2",
            unit="cosine",
            higher_is_better=True,
            about="Cosine of image and prompt in HPSv2's space.",
            headline=True,
        )
    }
