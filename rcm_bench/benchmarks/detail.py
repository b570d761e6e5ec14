"""Fine detail: the image against the scene that was read from it, drawn again without fault."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.types import Scorer


def _energies(table: "pd.DataFrame") -> "pd.DataFrame":
    """Read both energies from the details; NaN where the image has none."""
    details = [json.loads(text) if isinstance(text, str) else {} for text in table["details"]]
    return table.assign(
        top=[float(found.get("image", "nan")) for found in details],
        bottom=[float(found.get("rendered", "nan")) for found in details],
    )


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
            about="High-frequency energy over that of the re-rendered scenes, all images together "
            "(1 = as sharp).",
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

        Sharpness is energies over energies, not a mean of ratios: where no object was drawn the
        re-rendered scene has almost none, and one such image would outweigh all others.

        Args:
            samples: The samples table.
            scores: The scores table; the scorer's metric ``psnr`` and the details of ``sharpness``
                are read.
            failures: Has no meaning here: there is no dB that stands for wrong.
        """
        from rcm_bench.measured import Measured, per_prompt, ratio_per_prompt, scored

        return {
            "psnr": Measured(rows=per_prompt(scored(samples, scores, "psnr")), ratio=False),
            "sharpness": Measured(
                rows=ratio_per_prompt(_energies(scored(samples, scores, "sharpness")))
            ),
        }
