"""What distances of a cell's samples to the teacher's, and to real images, share."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.features.real_images import RealImages
    from rcm_bench.measured import Failures, Measured
    from rcm_bench.scorers.features import Scorer
    from rcm_bench.types import PromptRecord


class SetDistance:
    """A benchmark of distances of sets, in features of one kind.

    A benchmark has a field named as its ``kind``, the network, a field ``real``, and
    ``contributions``.
    """

    __slots__ = ()
    name: ClassVar[str]
    kind: ClassVar[str]
    to_teacher: ClassVar[MetricInfo]
    to_real: ClassVar[MetricInfo]
    real: "RealImages | None"
    if TYPE_CHECKING:

        def contributions(self) -> Callable[..., Any]:
            """Return the function that says what each sample adds to the distance."""

    @property
    def metrics(self) -> Mapping[str, MetricInfo]:
        """The distance to the teacher, and to real images where the suite names some."""
        found = {"distance": self.to_teacher}
        return found if self.real is None else {**found, "real_distance": self.to_real}

    def scorer(self) -> "Scorer":
        """Return the scorer of the features, the same as that of feature_diversity."""
        from rcm_bench.scorers.features import Scorer

        return Scorer(
            kind=self.kind,
            features=getattr(self, self.kind),
            benchmark=self.name,
            real=self.real,
        )

    def check_prompts(self, prompts: "Sequence[PromptRecord]", where: str) -> None:
        """Refuse weights and real images that are not there, before anything is sampled.

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
        from rcm_bench.feature_measures import distance_of_sets, real_set, with_features

        table = with_features(samples, scores, self.kind)
        found = {"distance": distance_of_sets(table, self.contributions())}
        if self.real is not None and (real := real_set(scores, self.kind)) is not None:
            found["real_distance"] = distance_of_sets(table, self.contributions(), real)
        return {name: measured for name, measured in found.items() if measured is not None}
