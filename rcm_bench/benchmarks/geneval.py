"""GenEval: does the image show what the prompt asks for? Six tasks, judged by GenEval's rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict

from rcm_bench.geneval_rules import TASKS
from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.types import Scorer

_TITLES = {
    "single_object": ("Single object", "the object is there"),
    "two_object": ("Two objects", "both objects are there"),
    "counting": ("Counting", "the number of objects is right"),
    "colors": ("Colour", "the object is there in its colour"),
    "position": ("Position", "the two objects stand as the prompt says"),
    "color_attr": ("Colour attribution", "both objects are there in their own colours"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """GenEval's rules on a detector.

    Args:
        detector: Who finds the objects: ``"lab"`` is the shapes laboratory's oracle.
    """

    detector: Literal["lab"] = "lab"

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "geneval"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "overall": MetricInfo(
            title="GenEval",
            unit="accuracy",
            higher_is_better=True,
            about="Unweighted mean of the six tasks' accuracies.",
            headline=True,
        ),
        **{
            task: MetricInfo(
                title=title,
                unit="accuracy",
                higher_is_better=True,
                about=f"Share of images in which {about}.",
            )
            for task, (title, about) in _TITLES.items()
        },
    }

    def scorer(self) -> "Scorer":
        """Return the scorer that judges each image."""
        from rcm_bench.scorers.lab import Scorer

        return Scorer()

    def measure(
        self,
        samples: "pd.DataFrame",
        scores: "pd.DataFrame",
        *,
        failures: "Failures" = "exclude_and_flag",
    ) -> "dict[str, Measured]":
        """Sum right answers per prompt; prompts are sampled within tasks.

        Args:
            samples: The samples table.
            scores: The scores table; the scorer's metric ``correct`` is read.
            failures: What a missing sample counts as.
        """
        from rcm_bench.measured import Measured, check_tasks, per_prompt, scored

        check_tasks(samples, TASKS, self.name)
        rows = per_prompt(scored(samples, scores, "correct"), failures=failures)
        measured = {
            "overall": Measured(
                rows=rows.assign(component=rows["task"]), components=TASKS, kind="proportion"
            )
        }
        for task in TASKS:
            own = rows[rows["task"] == task]
            if len(own):
                measured[task] = Measured(rows=own, kind="proportion")
        return measured
