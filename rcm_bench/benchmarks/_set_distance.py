"""What distances of a cell's samples to the teacher's share: features, check, sum."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.scorers.features import Scorer
    from rcm_bench.types import PromptRecord


class SetDistance:
    """A benchmark whose one metric is a distance of sets, in features of one kind.

    A benchmark has a field named as its ``kind``, the network, and ``contributions``.
    """

    __slots__ = ()
    name: ClassVar[str]
    kind: ClassVar[str]

    def contributions(self) -> Callable[..., Any]:
        """Return the function that says what each sample adds to the distance."""
        raise NotImplementedError

    def scorer(self) -> "Scorer":
        """Return the scorer of the features, the same as that of feature_diversity."""
        from rcm_bench.scorers.features import Scorer

        return Scorer(kind=self.kind, features=getattr(self, self.kind), benchmark=self.name)

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
            scores: The scores table; the details of ``kind`` name the files of features.
            failures: Has no meaning here: a sample that is not there has no distance.
        """
        from rcm_bench.feature_measures import distance_of_sets, with_features

        table = with_features(samples, scores, self.kind)
        found = distance_of_sets(table, self.contributions())
        return {} if found is None else {"distance": found}
