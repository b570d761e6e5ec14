"""CLIPScore: how near an image lies to its prompt in CLIP's space."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from rcm_bench.benchmarks._preference import Preference
from rcm_bench.scorers.judges import ClipScoreSettings
from rcm_bench.types import MetricInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark(Preference):
    """CLIPScore of open_clip's weights.

    Args:
        network: Which weights; where they are not there, the error names the published ones.
    """

    network: ClipScoreSettings

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "clip_score"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "mean": MetricInfo(
            title="CLIPScore",
            unit="points",
            higher_is_better=True,
            about="100 max(cos, 0) of image and prompt in CLIP's space.",
            headline=True,
        )
    }
