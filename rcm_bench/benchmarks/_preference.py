"""What benchmarks share whose scorer gives each sample one number: check, score, average."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.scorers.preference import JudgeSettings, Scorer
    from rcm_bench.types import PromptRecord


class Preference:
    """A benchmark whose one metric is the mean of what ``network`` gives each sample."""

    __slots__ = ()
    name: ClassVar[str]
    if TYPE_CHECKING:
        network: JudgeSettings

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
            scores: The scores table; the scorer's metric of the benchmark's name is read.
            failures: Has no meaning here: no number of this scale stands for wrong.
        """
        from rcm_bench.measured import Measured, per_prompt, scored

        rows = per_prompt(scored(samples, scores, self.name))
        return {"mean": Measured(rows=rows, ratio=False)}
