"""VBench-I2V: ten dimensions of videos that start from a given image, and the Total of nine.

Six of them run natively; the three of its own (likeness to the image, camera motion) and motion
smoothness only in the package vbench. What is missing makes the Total missing, never zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict

from rcm_bench.benchmarks._vbench import VideoBenchmark, infos
from rcm_bench.bring.scored import ScoredElsewhere
from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    from rcm_bench.types import Model, PromptRecord
    from rcm_bench.vbench.jobs import Kind

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
class Benchmark(VideoBenchmark):
    """VBench-I2V.

    Args:
        dimensions: What is scored; all ten by default. Without nine of them there is no Total.
        delegated: What the package computes, beside the four that only it can.
        aspect: Which crops of the images the videos start from.
        device: Torch device of networks, here and in the package's processes.
        hours: Time limit of one dimension of one model and number of steps.
        weights: SHA-256 of files below the package's cache folder.
        images: SHA-256 of images that videos are compared with, by name; a run freezes all.
        results: Who made the results that the models bring; then nothing is scored here.
    """

    dimensions: tuple[Dimension, ...] | None = None
    delegated: tuple[Dimension, ...] = ()
    aspect: Aspect = "16-9"
    device: str = "cuda"
    hours: float = 24.0
    weights: dict[str, str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    results: ScoredElsewhere | None = None

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "vbench_i2v"
    every: ClassVar[tuple[str, ...]] = get_args(Dimension)
    metrics: ClassVar[Mapping[str, MetricInfo]] = infos(_TOTALS, get_args(Dimension), _OWN)

    def kind(self) -> "Kind":
        """Return how the package is called."""
        return "i2v"

    def of_images(self) -> dict[str, Any]:
        """Return which crops of the images, and their digests."""
        return {"aspect": self.aspect, "images": self.images}

    def check_prompts(self, prompts: "Sequence[PromptRecord]", where: str) -> None:
        """Look at what the scorers will need, before anything is sampled.

        Args:
            prompts: The suite's prompts.
            where: File and key of the benchmark, for messages.

        Raises:
            UserError: The prompts are others, weights are not there, or the package cannot compute
                a dimension.
        """
        from rcm_bench.errors import UserError
        from rcm_bench.vbench.editions import is_of

        if not all(is_of(self.name, prompt.metadata) for prompt in prompts):
            raise UserError(
                f"{where}: is scored on VBench-I2V's own prompts; give 'prompts: "
                "{set: vbench_i2v, info: FILE}'"
            )
        self.check_available(where)

    def freeze(
        self, prompts: "Sequence[PromptRecord]", models: "Mapping[str, Model]", where: str
    ) -> dict[str, Any]:
        """Hold models to the images that their videos are compared with.

        Args:
            prompts: The suite's prompts, checked.
            models: The suite's models, checked.
            where: File and key of the benchmark, for messages.

        Returns:
            What a run freezes of this benchmark beside what the suite says.

        Raises:
            UserError: A model begins from none, or from another image than its videos are compared
                with; images are not there, or one has another digest.
        """
        from rcm_bench.errors import UserError
        from rcm_bench.vbench.i2v_images import COMPARED, check_begun, check_images, image_digests

        # Brought models have none: what they begin from is not known here.
        first_frames = {n: m.first_frame for n, m in models.items() if hasattr(m, "first_frame")}
        for name, begins in first_frames.items():
            if all(begins(prompt.prompt_id) is None for prompt in prompts):
                raise UserError(
                    f"{where}: model '{name}' begins from text alone, and VBench-I2V scores videos "
                    "that begin from its images: expected a model from images, such as Video2World "
                    "with 'image_folder'"
                )
        if not self.delegates():
            return {}
        names = {p.prompt_id: str(p.metadata["vbench"]["image"]) for p in prompts}
        check_images(names.values(), self.aspect, where)
        for name, begins in first_frames.items():
            check_begun(names, begins, self.aspect, name, where)
        asked = set(self.asked()) & set(COMPARED)
        compared = [
            names[p.prompt_id] for p in prompts if asked & set(p.metadata["vbench"]["dimensions"])
        ]
        found = image_digests(compared, self.aspect, self.images, where)
        return {"images": found} if found else {}
