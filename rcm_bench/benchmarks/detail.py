"""Fine detail: the image against the scene that was read from it, drawn again without fault."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.types import Scorer


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """Peak signal-to-noise ratio and sharpness against the re-rendered scene."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "detail"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "psnr": MetricInfo(
            title="PSNR to re-rendering",
            unit="dB",
            higher_is_better=True,
            about="Peak signal-to-noise ratio of the image against its own scene drawn again.",
            headline=True,
        ),
        "sharpness": MetricInfo(
            title="Sharpness",
            unit="ratio to truth",
            higher_is_better=True,
            about="High-frequency energy over that of the re-rendered scene (1 = as sharp).",
        ),
    }

    def scorer(self) -> "Scorer":
        """Return the scorer that compares each image with its re-rendered scene."""
        from rcm_bench.scorers.lab import Scorer

        return Scorer()

    def measure(
        self,
        samples: "pd.DataFrame",
        scores: "pd.DataFrame",
        *,
        failures: "Failures" = "exclude_and_flag",
    ) -> "dict[str, Measured]":
        """Sum both values per prompt; prompts are sampled within tasks.

        Args:
            samples: The samples table.
            scores: The scores table; the scorer's metrics ``psnr`` and ``sharpness`` are read.
            failures: Has no meaning here: there is no dB that stands for wrong.
        """
        from rcm_bench.measured import Measured, per_prompt, scored

        return {
            name: Measured(
                rows=per_prompt(scored(samples, scores, name)),
                ratio=name == "sharpness",
            )
            for name in self.metrics
        }
