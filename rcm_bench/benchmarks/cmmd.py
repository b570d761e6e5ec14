"""CMMD: how far samples lie from the teacher's, or from real images, in CLIP's features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict

from rcm_bench.benchmarks._set_distance import SetDistance
from rcm_bench.features.clip import Settings as ClipSettings
from rcm_bench.features.real_images import RealImages
from rcm_bench.types import MetricInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark(SetDistance):
    """CMMD of each cell against the teacher's samples, and against real images.

    Args:
        clip: CLIP; published numbers have OpenAI's ViT-L-14-336-quickgelu.
        real: Real images, such as COCO's, that every cell is compared with too.
    """

    clip: ClipSettings
    real: RealImages | None = None

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "cmmd"
    kind: ClassVar[str] = "clip"
    to_teacher: ClassVar[MetricInfo] = MetricInfo(
        title="CMMD to the teacher",
        unit="1000 x squared distance",
        higher_is_better=False,
        about="1000 times the squared maximum mean discrepancy to the teacher's samples; 0 on "
        "average for the same law, and then as often below.",
        headline=True,
    )
    to_real: ClassVar[MetricInfo] = MetricInfo(
        title="CMMD to real images",
        unit="1000 x squared distance",
        higher_is_better=False,
        about="1000 times the squared maximum mean discrepancy to the real images that the suite "
        "names, which are taken as given.",
    )

    def contributions(self) -> Callable[..., Any]:
        """Return what each sample adds to the distance."""
        from rcm_bench.statistics.discrepancy import contributions

        return contributions
