"""VBench-I2V: ten dimensions of videos that start from a given image, and the Total of nine.

Six of them run natively; the three of its own (likeness to the image, camera motion) and motion
smoothness only in the package vbench. What is missing makes the Total missing, never zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from pydantic import ConfigDict

from rcm_bench.benchmarks._vbench import ONLY_PACKAGE, check_weights_names, infos, make_scorers
from rcm_bench.bring.scored import ScoredElsewhere
from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.tables import RunTables
    from rcm_bench.types import PromptRecord, Scorer

Dimension = Literal[
    "i2v_subject",
    "i2v_background",
    "camera_motion",
    "subject_consistency",
    "background_consistency",
    "motion_smoothness",
    "dynamic_degree",
    "aesthetic_quality",
    "imaging_quality",
    "temporal_flickering",
]
Aspect = Literal["1-1", "8-5", "7-4", "16-9"]
_TOTALS = {
    "total": ("VBench-I2V", "Mean of I2V and Quality; read it beside dynamic degree."),
    "i2v": ("I2V", "Likeness to the given image, and a little of camera motion."),
    "quality": ("Quality", "Weighted mean of six normalised dimensions of the video itself."),
}
_OWN = {"temporal_flickering": "Likeness of neighbouring frames, of all videos; in no total."}


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """VBench-I2V.

    Args:
        dimensions: What is scored; all ten by default. Without nine of them there is no Total.
        delegated: What the package computes, beside the four that only it can.
        aspect: Which crops of the images the videos start from.
        device: Torch device of networks, here and in the package's processes.
        hours: Time limit of one dimension of one model and number of steps.
        weights: SHA-256 of files below the package's cache folder.
        results: Who made the results that the models bring; then nothing is scored here.
    """

    dimensions: tuple[Dimension, ...] | None = None
    delegated: tuple[Dimension, ...] = ()
    aspect: Aspect = "16-9"
    device: str = "cuda"
    hours: float = 24.0
    weights: dict[str, str] = field(default_factory=dict)
    results: ScoredElsewhere | None = None

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "vbench_i2v"
    metrics: ClassVar[Mapping[str, MetricInfo]] = infos(_TOTALS, get_args(Dimension), _OWN)

    def asked(self) -> tuple[str, ...]:
        """Return the dimensions to be scored, in VBench-I2V's order."""
        every = get_args(Dimension)
        chosen = every if self.dimensions is None else self.dimensions
        return tuple(name for name in every if name in chosen)

    def delegates(self) -> tuple[str, ...]:
        """Return those that the package computes."""
        if self.results is not None:
            return ()
        return tuple(n for n in self.asked() if n in ONLY_PACKAGE or n in self.delegated)

    def takes_results(self) -> tuple[str, ...] | None:
        """Return what is wanted of scores that were made elsewhere; None where none are taken."""
        return self.asked() if self.results is not None else None

    def check_prompts(self, prompts: "Sequence[PromptRecord]", where: str) -> None:
        """Look at what the scorers will need, before anything is sampled.

        Args:
            prompts: The suite's prompts.
            where: File and key of the benchmark, for messages.

        Raises:
            UserError: The prompts are others, weights or images are not there, or the package
                cannot compute a dimension.
        """
        from rcm_bench.errors import UserError
        from rcm_bench.vbench.editions import is_of
        from rcm_bench.vbench.i2v_images import check_images
        from rcm_bench.vbench.run import check_available

        check_weights_names(self.weights, get_args(Dimension), where)
        if not all(is_of(self.name, prompt.metadata) for prompt in prompts):
            raise UserError(
                f"{where}: is scored on VBench-I2V's own prompts; give 'prompts: "
                "{set: vbench_i2v, info: FILE}'"
            )
        for name in self.delegates():
            check_available(name)
        if self.delegates():
            check_images([p.metadata["vbench"]["image"] for p in prompts], self.aspect, where)
        for scorer in self.scorers():
            # The native one holds its weights to their digests.
            getattr(scorer, "check", lambda: None)()

    def scorer(self) -> "Scorer | None":
        """Return the first of the scorers."""
        made = self.scorers()
        return made[0] if made else None

    def scorers(self) -> "list[Scorer]":
        """Return one for all native dimensions and one for each delegated one, or for results."""
        if self.results is not None:
            from rcm_bench.scorers.results import Scorer as Results

            return [Results(layout=self.name, about=self.results, metrics=self.asked())]
        return make_scorers(
            self.asked(),
            self.delegates(),
            kind="i2v",
            weights=self.weights,
            device=self.device,
            hours=self.hours,
            aspect=self.aspect,
        )

    def export(self, tables: "RunTables", prompts: "Sequence[PromptRecord]", out: "Path") -> None:
        """Write VBench's own result files of each cell, and the archive for its leaderboard.

        Args:
            tables: Samples and scores of the run.
            prompts: Its prompts.
            out: Folder of the run's tables.
        """
        from rcm_bench.vbench.editions import IMAGE
        from rcm_bench.vbench.export import write_cells

        asked = self.asked()
        write_cells(tables.samples, tables.scores, prompts, IMAGE, asked, self.name, out)

    def measure(
        self,
        samples: "pd.DataFrame",
        scores: "pd.DataFrame",
        *,
        failures: "Failures" = "exclude_and_flag",
    ) -> "dict[str, Measured]":
        """Sum every dimension per prompt, and the totals of them.

        Args:
            samples: The samples table.
            scores: The scores table.
            failures: Has no meaning here: what is missing is never zero, and takes the Total along.
        """
        from rcm_bench.vbench.editions import IMAGE
        from rcm_bench.vbench.measures import measure

        return measure(samples, scores, self.asked(), edition=IMAGE)
