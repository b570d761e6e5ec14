"""GenEval: does the image show what the prompt asks for? Six tasks, judged by GenEval's rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Tag

from rcm_bench.bring.scored import ScoredElsewhere
from rcm_bench.detectors.settings import ColourSettings, Mask2FormerSettings
from rcm_bench.errors import UserError
from rcm_bench.geneval_rules import TASKS
from rcm_bench.prompt_sets import check_lab_prompts
from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.tables import RunTables
    from rcm_bench.types import PromptRecord, Scorer


def _kind(detector: Any) -> str:
    if isinstance(detector, str):
        return "lab"
    kind = detector.get("kind") if isinstance(detector, dict) else detector.kind
    return "results" if kind == "results" else "mask2former"


Detector = Annotated[
    Annotated[Literal["lab"], Tag("lab")]
    | Annotated[Mask2FormerSettings, Tag("mask2former")]
    | Annotated[ScoredElsewhere, Tag("results")],
    Discriminator(_kind),
]
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
        detector: Who finds the objects: ``"lab"`` is the shapes laboratory's oracle, ``{kind:
            mask2former, ...}`` the detector of real images, with its weights, ``{kind: results}``
            whoever made the results that the models bring.
        colours: CLIP's weights, for Mask2Former.
    """

    detector: Detector = "lab"
    colours: ColourSettings | None = None

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
        if isinstance(self.detector, str):
            from rcm_bench.scorers.lab import Scorer as LabScorer

            return LabScorer()
        if isinstance(self.detector, ScoredElsewhere):
            from rcm_bench.scorers.results import Scorer as Results

            return Results(layout=self.name, about=self.detector, metrics=("correct",))
        from rcm_bench.scorers.geneval import Scorer

        return Scorer(detector=self.detector, colours=self.colours or ColourSettings())

    def takes_results(self) -> tuple[str, ...] | None:
        """Return what is wanted of scores that were made elsewhere; None where none are taken."""
        return ("correct",) if isinstance(self.detector, ScoredElsewhere) else None

    def check_prompts(self, prompts: "Sequence[PromptRecord]", where: str) -> None:
        """Refuse weights that are not there and prompts that are not GenEval's, before a run.

        Args:
            prompts: The prompts of the suite.
            where: File, line and key of the benchmark.

        Raises:
            UserError: The first thing that is wrong.
        """
        if isinstance(self.detector, str):
            if self.colours is not None:
                raise UserError(f"{where}.colours: belongs to 'detector: {{kind: mask2former}}'")
            instead = "; real images need 'detector: {kind: mask2former, ...}'"
            check_lab_prompts(prompts, where, instead)
            if foreign := [p for p in prompts if p.task not in TASKS]:
                raise UserError(
                    f"{where}: prompt {foreign[0].prompt_id}: expected a task of GenEval "
                    f"({', '.join(TASKS)}), got '{foreign[0].task}'; lines of a .jsonl have it "
                    "under 'tag'"
                )
            return
        if isinstance(self.detector, ScoredElsewhere):  # its rows are held to the prompts
            return
        from rcm_bench.scorers.geneval import Scorer, check_prompt

        for prompt in prompts:
            check_prompt(prompt.metadata, f"{where}: prompt {prompt.prompt_id}")
        Scorer(detector=self.detector, colours=self.colours or ColourSettings()).check()

    def deviation(self, prompts: "Sequence[PromptRecord]", samples_per_prompt: int) -> str:
        """Say what differs from the official 553 prompts and 4 samples of each; else nothing.

        Args:
            prompts: The prompts of the suite.
            samples_per_prompt: Samples of each.
        """
        if isinstance(self.detector, str):
            return ""
        from rcm_bench.geneval_prompts import SAMPLES_PER_PROMPT, official_metadata

        official = {record["prompt"] for record in official_metadata()}
        texts = {prompt.text for prompt in prompts}
        said = []
        if samples_per_prompt != SAMPLES_PER_PROMPT:
            there = f"{SAMPLES_PER_PROMPT} samples a prompt are official"
            said.append(f"{there}, here {samples_per_prompt}")
        if texts != official:
            own = len(texts - official)
            said.append(f"{len(texts & official)} of its {len(official)} prompts")
            said += [f"{own} prompts of others"] if own else []
        return f"GenEval: {'; '.join(said)}" if said else ""

    def receipt(self, scores: "pd.DataFrame") -> dict[str, str]:
        """Say what stands beside the environment in the receipt: the detector's self-test.

        Args:
            scores: The scores table.
        """
        if not isinstance(self.detector, Mask2FormerSettings):
            return {}
        from rcm_bench.geneval_export import self_tests

        return {"GenEval detector": self_tests(scores, self.name)}

    def export(self, tables: "RunTables", prompts: "Sequence[PromptRecord]", out: "Path") -> None:
        """Write each whole cell as GenEval's own result file; remove what is not whole any more.

        Args:
            tables: Samples and scores of the run.
            prompts: Its prompts.
            out: Folder of the run's tables.
        """
        if not isinstance(self.detector, str):
            from rcm_bench.geneval_export import write_cells

            write_cells(tables.samples, tables.scores, prompts, self.name, out)

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
