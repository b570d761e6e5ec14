"""VBench: sixteen dimensions of video, Quality, Semantic and Total, by its own prompts and rules.

Seven dimensions run natively, on maintained libraries; nine only in the package vbench, each in a
process of its own. A dimension or a video that is missing makes the Total missing, never zero.
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
    "subject_consistency",
    "background_consistency",
    "temporal_flickering",
    "motion_smoothness",
    "dynamic_degree",
    "aesthetic_quality",
    "imaging_quality",
    "object_class",
    "multiple_objects",
    "human_action",
    "color",
    "spatial_relationship",
    "scene",
    "appearance_style",
    "temporal_style",
    "overall_consistency",
]
_TOTALS = {
    "total": ("VBench", "Four parts Quality, one part Semantic; read it beside dynamic degree."),
    "quality": ("Quality", "Weighted mean of seven normalised dimensions of the video itself."),
    "semantic": ("Semantic", "Mean of nine normalised dimensions of video and prompt."),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """VBench.

    Args:
        dimensions: What is scored; all sixteen by default. Without all there is no Total.
        delegated: What the package computes, beside the nine that only it can.
        mode: "vbench_standard" on VBench's prompts; "custom_input" on any, without totals.
        device: Torch device of networks, here and in the package's processes.
        hours: Time limit of one dimension of one model and number of steps.
        weights: SHA-256 of files below the package's cache folder, such as ``amt_model/amt-s.pth``;
            others are refused.
        results: Who made the results that the models bring; then nothing is scored here.
    """

    dimensions: tuple[Dimension, ...] | None = None
    delegated: tuple[Dimension, ...] = ()
    mode: Literal["vbench_standard", "custom_input"] = "vbench_standard"
    device: str = "cuda"
    hours: float = 24.0
    weights: dict[str, str] = field(default_factory=dict)
    results: ScoredElsewhere | None = None

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "vbench"
    metrics: ClassVar[Mapping[str, MetricInfo]] = infos(_TOTALS, get_args(Dimension), {})

    def asked(self) -> tuple[str, ...]:
        """Return the dimensions to be scored, in VBench's order."""
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
            UserError: A dimension needs VBench's own prompts, weights are not there, or the package
                cannot compute it.
        """
        from rcm_bench.errors import UserError
        from rcm_bench.vbench.dimensions import CUSTOM
        from rcm_bench.vbench.editions import is_of
        from rcm_bench.vbench.run import check_available

        check_weights_names(self.weights, get_args(Dimension), where)
        foreign = [name for name in self.asked() if name not in CUSTOM]
        if self.mode == "custom_input" and foreign:
            raise UserError(
                f"{where}: {', '.join(foreign)} are judged by what VBench's own prompts "
                f"say beside the text; with 'mode: custom_input' give 'dimensions' out of: "
                f"{', '.join(CUSTOM)}"
            )
        known = any(is_of("vbench", p.metadata) for p in prompts)
        if self.mode == "vbench_standard" and not known:
            raise UserError(
                f"{where}: is scored on VBench's own prompts; give "
                "'prompts: {set: vbench}', or 'mode: custom_input' for others"
            )
        for name in self.delegates():
            check_available(name)
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
            kind=self.mode,
            weights=self.weights,
            device=self.device,
            hours=self.hours,
        )

    def export(self, tables: "RunTables", prompts: "Sequence[PromptRecord]", out: "Path") -> None:
        """Write VBench's own result files of each cell, and the archive for its leaderboard.

        Args:
            tables: Samples and scores of the run.
            prompts: Its prompts.
            out: Folder of the run's tables.
        """
        if self.mode == "vbench_standard":
            from rcm_bench.vbench.editions import TEXT
            from rcm_bench.vbench.export import write_cells

            asked = self.asked()
            write_cells(tables.samples, tables.scores, prompts, TEXT, asked, self.name, out)

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
        from rcm_bench.vbench.measures import measure

        return measure(samples, scores, self.asked(), mode=self.mode)
