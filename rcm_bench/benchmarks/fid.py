"""FID: how far the samples' law lies from the teacher's, in Inception's features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from rcm_bench.features.inception import Settings as InceptionSettings
from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.scorers.features import Scorer
    from rcm_bench.types import PromptRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """FID of each cell against the teacher's samples.

    Args:
        inception: The 2015 weights.
    """

    inception: InceptionSettings

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "fid"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "distance": MetricInfo(
            title="FID to the teacher",
            unit="squared distance",
            higher_is_better=False,
            about="Frechet distance to the teacher's samples; it shrinks with their number, so "
            "compare equal numbers only.",
            headline=True,
        )
    }

    def scorer(self) -> "Scorer":
        """Return the scorer of Inception's features."""
        from rcm_bench.scorers.features import Scorer

        return Scorer(kind="inception", features=self.inception, benchmark=self.name)

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
            scores: The scores table; the details of ``inception`` name the files of features.
            failures: Has no meaning here: a sample that is not there has no distance.
        """
        from rcm_bench.feature_measures import distance_of_sets, with_features
        from rcm_bench.statistics.frechet import contributions

        found = distance_of_sets(with_features(samples, scores, "inception"), contributions)
        return {} if found is None else {"distance": found}
