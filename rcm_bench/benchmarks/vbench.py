"""VBench: sixteen dimensions of video, Quality, Semantic and Total, by its own prompts and rules.

Seven dimensions run natively, on maintained libraries; nine only in the package vbench, each in a
process of its own. A dimension or a video that is missing makes the Total missing, never zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict

from rcm_bench.benchmarks._vbench import VideoBenchmark, infos
from rcm_bench.bring.scored import ScoredElsewhere
from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    from rcm_bench.types import PromptRecord
    from rcm_bench.vbench.jobs import Kind

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
class Benchmark(VideoBenchmark):
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
    every: ClassVar[tuple[str, ...]] = get_args(Dimension)
    metrics: ClassVar[Mapping[str, MetricInfo]] = infos(_TOTALS, get_args(Dimension), {})

    def kind(self) -> "Kind":
        """Return the package's mode."""
        return self.mode

    def of_images(self) -> dict[str, Any]:
        """Return nothing: videos begin from text alone."""
        return {}

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
        self.check_available(where)
