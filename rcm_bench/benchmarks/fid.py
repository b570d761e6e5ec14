"""FID: how far samples lie from the teacher's, or from real images, in Inception's features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict

from rcm_bench.benchmarks._set_distance import SetDistance
from rcm_bench.features.inception import Settings as InceptionSettings
from rcm_bench.features.real_images import RealImages
from rcm_bench.types import MetricInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark(SetDistance):
    """FID of each cell against the teacher's samples, and against real images.

    Args:
        inception: The 2015 weights.
        real: Real images, such as COCO's, that every cell is compared with too.
    """

    inception: InceptionSettings
    real: RealImages | None = None

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "fid"
    kind: ClassVar[str] = "inception"
    to_teacher: ClassVar[MetricInfo] = MetricInfo(
        title="FID to the teacher",
        unit="squared distance",
        higher_is_better=False,
        about="Frechet distance to the teacher's samples; it shrinks with their number, so "
        "compare equal numbers only.",
        headline=True,
    )
    to_real: ClassVar[MetricInfo] = MetricInfo(
        title="FID to real images",
        unit="squared distance",
        higher_is_better=False,
        about="Frechet distance to the real images that the suite names, which are taken as given; "
        "it shrinks with the number of samples, so compare equal numbers only.",
    )

    def contributions(self) -> Callable[..., Any]:
        """Return what each sample adds to the distance."""
        from rcm_bench.statistics.frechet import contributions

        return contributions
