"""Any text-to-image or text-to-video pipeline of diffusers, as a peer: SDXL, SD3.5, FLUX, SANA.

The pipeline is called as its authors mean it: its own scheduler, text encoders and size rules.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from rcm_bench.canonical import digest_of
from rcm_bench.checkpoints.lora import find_lora
from rcm_bench.diffusion.digests import remembered_digest
from rcm_bench.diffusion.pipeline_files import PipelineFiles, check_size, find_files
from rcm_bench.diffusion.settings import Dtype
from rcm_bench.diffusion.single_file import find_single
from rcm_bench.diffusion.source import Source, locate
from rcm_bench.errors import UserError
from rcm_bench.suite import Count, Name, SchedulerSampler, Strict
from rcm_bench.types import Cost, Media, ModelContext, PromptRecord, WorkItem
from rcm_bench.video_files import CODEC

if TYPE_CHECKING:
    from rcm_bench.diffusion.pipeline import Pipeline

# Distilled with their guidance inside the network: the scale is one of its inputs.
_EMBEDDED = ("FluxPipeline", "SanaSprintPipeline")
_SECONDS = 0.1  # of one evaluation, a guess for the plan: nobody has measured these pipelines here
_BYTES_PER_PIXEL = 1.6
# Of all networks, text encoders included; rough, for a plan of a pipeline that is missing.
_PARAMETERS = {
    "stabilityai/stable-diffusion-xl-base-1.0": 3.5e9,
    "stabilityai/stable-diffusion-3.5-medium": 8.1e9,
    "black-forest-labs/FLUX.1-schnell": 16.9e9,
}
Argument = str | int | float | bool | None | list[float] | list[int] | list[str]


class PipelineSettings(Strict):
    """Where a pipeline comes from, and what is sampled."""

    weights: Name = Field(
        description="Folder in diffusers' layout, hub id (with 'revision'), or a single "
        ".safetensors file (with 'config')"
    )
    config: Name | None = Field(
        default=None,
        description="With weights in a single file: folder in diffusers' layout, or hub id (with "
        "'revision'), for configurations, tokenizer, scheduler and what the file lacks",
    )
    revision: str | None = Field(
        default=None,
        json_schema_extra={"pattern": "^[0-9a-f]{40}$"},  # said better where it is used
        description="Commit of the hub id: a pinned one, never a branch",
    )
    variant: Literal["fp16", "bf16"] | None = Field(
        default=None, description="Which weights, where a folder holds several"
    )
    resolution: list[Count] = Field(
        min_length=2, max_length=2, description="Height and width in pixels"
    )
    frames: Count = Field(default=1, description="Frames of a video; 1 for an image")
    fps: float | None = Field(default=None, gt=0, description="Frames per second of a video")
    negative_prompt: str | None = Field(
        default=None, description="What guidance leads away from; the pipeline's own by default"
    )
    dtype: Dtype = Field(default="bfloat16", description="Of all networks")
    arguments: dict[Name, Argument] = Field(
        default_factory=dict,
        description="Further arguments of the pipeline's call, such as max_sequence_length",
    )
    lora: Name | None = Field(default=None, description="A .safetensors file of LoRA weights")
    lora_scale: float = Field(default=1.0, description="Factor on the LoRA's update")
    memory: Literal["resident", "model"] = Field(
        default="resident", description="Weights on the device all the time, or one network a time"
    )


class Model:
    """Any text-to-image or text-to-video pipeline of diffusers."""

    Settings = PipelineSettings

    def __init__(self, settings: PipelineSettings, sampler: Strict, context: ModelContext) -> None:
        if not isinstance(sampler, SchedulerSampler):
            kind = getattr(sampler, "kind", "?")
            raise UserError(
                f"{context.place}.sampler: a pipeline brings its own: expected kind 'scheduler' "
                f"(with its guidance), got '{kind}'"
            )
        if (settings.fps is None) != (settings.frames == 1):
            raise UserError(
                f"{context.place}.fps: a video needs a frame rate and an image has none; got "
                f"{settings.frames} frames and fps {settings.fps}"
            )
        self.settings, self.sampler, self._context = settings, sampler, context
        place, folder = context.place, context.folder
        self.single = find_single(settings.weights, settings.config, folder, place)
        name = settings.config or settings.weights
        count = _PARAMETERS.get(name)
        size = f" (about {2 * count / 1e9:.0f} GB as bfloat16)" if count else ""
        key = "weights" if self.single is None else "config"
        self.source: Source = locate(name, settings.revision, folder, place, size, key)
        self.files: PipelineFiles | None = None
        if self.source.root is not None:
            self.files = find_files(self.source.root, settings.variant, place, self.single)
            check_size(self.source.root, settings.resolution, place)
        self.lora = find_lora(settings.lora, folder, place)
        self._pipeline: Pipeline | None = None

    @property
    def root(self) -> Path:
        """Return the pipeline's folder, once it is there."""
        assert self.source.root is not None, "missing weights are told before they are asked for"
        return self.source.root

    def digest(self) -> str:
        """Return one digest of all weights and configurations."""
        single = {"single": remembered_digest(self.single.path)} if self.single else {}
        if self.files is None:
            named = {"hub": self.source.name, "revision": self.source.revision}
            return digest_of(named | single)
        return digest_of(self.files.digests() | single)

    def identity(self) -> dict[str, Any]:
        """Return weights, pipeline, size, dtype and every argument of the call."""
        kept = ("resolution", "frames", "fps", "dtype", "negative_prompt", "arguments")
        return {
            "kind": "diffusers",
            "weights": self.digest(),
            "pipeline": self.files.pipeline if self.files else None,
            **{key: getattr(self.settings, key) for key in kept},
            "codec": CODEC if self.settings.frames > 1 else None,
            **self._lora(),
        }

    def _lora(self) -> dict[str, Any]:
        if self.lora is None:
            return {}
        return {"lora": remembered_digest(self.lora), "lora_scale": self.settings.lora_scale}

    def card(self) -> dict[str, Any]:
        """Return what is known of the weights' origin."""
        source = self.source
        return {"source": source.name, "revision": source.revision} if source.revision else {}

    def evaluations(self, steps: int) -> int:
        """Estimate evaluations of one sample, for the plan; what is recorded is counted."""
        embedded = self.files is not None and self.files.pipeline in _EMBEDDED
        return steps * (2 if self.sampler.guidance > 1 and not embedded else 1)

    def missing(self) -> list[str]:
        """Say what has to be brought to this machine first."""
        return [self.source.missing] if self.source.missing else []

    def cost(self) -> Cost:
        """Return rough costs: nobody has measured these pipelines here."""
        pixels = self.settings.resolution[0] * self.settings.resolution[1] * self.settings.frames
        return Cost(
            seconds_per_evaluation=_SECONDS,
            bytes_per_sample=pixels * _BYTES_PER_PIXEL,
            machine="on one H100",
        )

    def check(self, prompts: Sequence[PromptRecord], steps: Sequence[int]) -> None:
        """Accept all prompts; what the pipeline takes is known once it is loaded."""

    def first_frame(self, prompt_id: str) -> Path | None:
        """Return None: these pipelines begin from text alone."""

    def load(self, device: str) -> None:
        """Load the pipeline and check what its call takes.

        Raises:
            UserError: It cannot be loaded, or does not take an argument.
        """
        from rcm_bench.diffusion.engine import require_packages
        from rcm_bench.diffusion.pipeline import Pipeline

        require_packages(self._context.place)
        if missing := self.missing():
            raise UserError("\n".join(missing))
        self._pipeline = Pipeline(self, device, self._context.place)

    def generate(self, items: Sequence[WorkItem]) -> Iterator[Media]:
        """Generate one planned batch; smaller parts of it where memory does not suffice."""
        assert self._pipeline is not None, "load comes before generate"
        yield from self._pipeline.generate(items)
