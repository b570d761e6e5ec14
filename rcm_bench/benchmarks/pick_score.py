"""PickScore: what people are likely to prefer, by CLIP ViT-H fine-tuned on their choices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from rcm_bench.benchmarks._preference import Preference
from rcm_bench.scorers.judges import PickSettings
from rcm_bench.types import MetricInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark(Preference):
    """PickScore by transformers.

    Args:
        network: Which weights; where they are not there, the error names the published ones.
    """

    network: PickSettings

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "pick_score"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "mean": MetricInfo(
            title="PickScore",
            unit="points",
            higher_is_better=True,
            about="Logit scale times the cosine of image and prompt; differences are log odds.",
            headline=True,
        )
    }
