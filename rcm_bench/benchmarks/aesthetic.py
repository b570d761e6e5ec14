"""LAION's aesthetic score: how people would rate an image, whatever it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from rcm_bench.scorers.judges import AestheticSettings
from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.scorers.preference import Scorer
    from rcm_bench.types import PromptRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """LAION's head on CLIP's image features.

    Args:
        network: Which weights; README.md names the published ones.
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

    def scorer(self) -> "Scorer":
        """Return the scorer that gives each sample one number."""
        from rcm_bench.scorers.preference import Scorer

        return Scorer(name=self.name, judge=self.network)

    def check_prompts(self, prompts: "Sequence[PromptRecord]", where: str) -> None:
        """Refuse weights that are not there, before anything is sampled.

        Args:
            prompts: Unused: any prompt can be scored.
            where: File, line and key of the benchmark.
        """
        self.scorer().check(where)

    def measure(
        self,
        samples: "pd.DataFrame",
        scores: "pd.DataFrame",
        *,
        failures: "Failures" = "exclude_and_flag",
    ) -> "dict[str, Measured]":
        """Average over the samples of each prompt.

        Args:
            samples: The samples table.
            scores: The scores table; the scorer's metric ``aesthetic`` is read.
            failures: Has no meaning here: no number of this scale stands for wrong.
        """
        from rcm_bench.measured import Measured, per_prompt, scored

        rows = per_prompt(scored(samples, scores, self.name))
        return {"mean": Measured(rows=rows, ratio=False)}
