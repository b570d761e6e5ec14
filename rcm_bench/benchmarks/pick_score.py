"""PickScore: what people are likely to prefer, by CLIP ViT-H fine-tuned on their choices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from rcm_bench.scorers.judges import PickSettings
from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.scorers.preference import Scorer
    from rcm_bench.types import PromptRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """PickScore by transformers.

    Args:
        network: Which weights; README.md names the published ones.
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
            scores: The scores table; the scorer's metric ``pick_score`` is read.
            failures: Has no meaning here: no number of this scale stands for wrong.
        """
        from rcm_bench.measured import Measured, per_prompt, scored

        rows = per_prompt(scored(samples, scores, self.name))
        return {"mean": Measured(rows=rows, ratio=False)}
