"""CMMD: how far the samples' law lies from the teacher's, in CLIP's features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from rcm_bench.features.clip import Settings as ClipSettings
from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.scorers.features import Scorer
    from rcm_bench.types import PromptRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """CMMD of each cell against the teacher's samples.

    Args:
        clip: CLIP; published numbers have OpenAI's ViT-L-14-336-quickgelu.
    """

    clip: ClipSettings

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "cmmd"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "distance": MetricInfo(
            title="CMMD to the teacher",
            unit="1000 x squared distance",
            higher_is_better=False,
            about="1000 times the squared maximum mean discrepancy to the teacher's samples; 0 on "
            "average for the same law, and then as often below.",
            headline=True,
        )
    }

    def scorer(self) -> "Scorer":
        """Return the scorer of CLIP's features, the same as that of feature_diversity."""
        from rcm_bench.scorers.features import Scorer

        return Scorer(kind="clip", features=self.clip, benchmark=self.name)

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
        """Sum over each prompt what its samples add to the distance.

        Args:
            samples: The samples table; ``is_reference`` marks the teacher's.
            scores: The scores table; the details of ``clip`` name the files of features.
            failures: Has no meaning here: a sample that is not there has no distance.
        """
        from rcm_bench.feature_measures import distance_of_sets, with_features
        from rcm_bench.statistics.discrepancy import contributions

        found = distance_of_sets(with_features(samples, scores, "clip"), contributions)
        return {} if found is None else {"distance": found}
