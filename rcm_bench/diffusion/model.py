"""A transformer, an autoencoder and a sampler as a model of the harness.

Shape legend: B batch, C latent channels, T latent frames, H and W latent height and width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rcm_bench.canonical import digest_of
from rcm_bench.checkpoints.lora_metadata import adapter_alphas
from rcm_bench.diffusion import shapes
from rcm_bench.diffusion.families import Family
from rcm_bench.diffusion.grids import check_preset, check_sampler, evaluations, guidance_of
from rcm_bench.diffusion.images import find_images
from rcm_bench.diffusion.kernels import kernels
from rcm_bench.diffusion.memory import Peaks, estimate
from rcm_bench.diffusion.settings import DiffusionSettings
from rcm_bench.diffusion.source import read_json
from rcm_bench.diffusion.text import TextEncoder
from rcm_bench.diffusion.weights import RANDOM, resolve
from rcm_bench.diffusion.work import evaluation_flops
from rcm_bench.errors import UserError
from rcm_bench.planning import seen_by_model
from rcm_bench.suite import RcmSampler, SchedulerSampler, Strict
from rcm_bench.types import Cost, Media, ModelContext, PromptRecord, WorkItem
from rcm_bench.video_files import CODEC

if TYPE_CHECKING:
    from rcm_bench.diffusion.deviation import Deviations
    from rcm_bench.diffusion.engine import Engine

_FLOPS = 4.5e14  # diffusers as it comes, Wan2.1 1.3B in bfloat16: 0.63 to 0.66 s an evaluation
VERSION = "_diffusers_version"  # of the library that wrote a configuration; it decides nothing
_BITS_PER_PIXEL = 0.15  # of H.264 at crf 12
_PNG_BYTES_PER_PIXEL = 1.6


@contextmanager
def _said_at(place: str) -> Iterator[None]:
    """Say at which key of the suite a value is wrong."""
    try:
        yield
    except ValueError as fault:
        raise UserError(f"{place}: {fault}") from None


class DiffusionModel:
    """What the kinds ``wan`` and ``cosmos`` share; each names its family.

    Making one finds and checks files without torch; ``load`` computes the text embeddings of the
    prompts that ``check`` has seen and frees the text encoder; the networks are loaded by the
    first batch, since a run goes through its models one after the other.
    """

    Settings = DiffusionSettings
    family: ClassVar[Family]

    def __init__(self, settings: DiffusionSettings, sampler: Strict, context: ModelContext) -> None:
        self.settings, self._context = settings, context
        at = f"{context.place}.sampler"
        with _said_at(at):
            check_sampler(sampler, [], settings.second_time)
        self.sampler: Any = sampler
        self.weights = resolve(settings, self.family, context, context.pickles)
        with _said_at(at):
            check_preset(sampler, self.family.name, self.weights.size(self.family))
        shapes.check_shape(settings, self.weights.config, self.weights.pipeline, context.place)
        self.latent_shape = shapes.latent_shape(settings, self.weights.config)
        self.tokens = settings.max_tokens or self.family.max_tokens
        self.images = find_images(settings, self.weights.pipeline, context)
        self._parts = self.weights.identity(context.place)
        self._texts: list[str] = []
        self._engine: Engine | None = None

    def digest(self) -> str:
        """Return one digest of all weights."""
        return digest_of(self._parts)

    def identity(self) -> dict[str, Any]:
        """Return weights, architecture, size, dtypes, codec, and what guidance leads away from."""
        kept = ("dtype", "text_dtype", "decode_dtype", "frames", "fps", "resolution")
        guided = guidance_of(self.sampler) != 1
        scale = self.settings.lora_scale if self.settings.lora else None
        return {
            "kind": self.family.name,
            "weights": self.digest(),
            "parts": self._parts,
            "architecture": {k: v for k, v in self.weights.config.items() if k[0] != "_"},
            **{key: getattr(self.settings, key) for key in kept},
            "max_tokens": self.tokens,
            "negative_prompt": self.settings.negative_prompt if guided else None,
            "lora_scale": scale,
            "images": self.images.digest() if self.images else None,
            "codec": CODEC if self.settings.frames > 1 else None,
            **self._scheduler(),
            **self._alphas(),
            **({"second_time": self.settings.second_time} if self.settings.second_time else {}),
            **kernels(self.settings),
        }

    def _alphas(self) -> dict[str, Any]:
        """Return what a LoRA file's header says of alpha: it was not read once."""
        if self.weights.lora is None:
            return {}
        alphas = adapter_alphas(self.weights.lora, f"{self._context.place}.lora")
        return {"lora_alpha": alphas} if alphas else {}

    def _scheduler(self) -> dict[str, Any]:
        """Return the settings of the folder's own scheduler, where the sampler is that."""
        root = self.weights.root
        if not isinstance(self.sampler, SchedulerSampler) or root is None:
            return {}
        path = root / "scheduler" / "scheduler_config.json"
        kept = {k: v for k, v in read_json(path, self._context.place).items() if k != VERSION}
        return {"scheduler": kept}

    def card(self) -> dict[str, Any]:
        """Return what is known of the weights' origin."""
        source = self.weights.source
        if source is None:
            return {"weights": "random: shapes of the published model, for throughput only"}
        return {"source": source.name, "revision": source.revision} if source.revision else {}

    def evaluations(self, steps: int) -> int:
        """Return network evaluations of one sample; guidance counts twice."""
        return evaluations(self.sampler, steps)

    def missing(self) -> list[str]:
        """Say what has to be brought to this machine first."""
        return self.weights.missing()

    def trained(self) -> bool:
        """Say whether its samples mean anything: random weights have no quality to measure."""
        return self.settings.weights != RANDOM

    def cost(self) -> Cost:
        """Return rough costs on one H100: matrix products of all tokens, and attention."""
        flops = evaluation_flops(self.weights.config, self.latent_shape)
        pixels = self.settings.resolution[0] * self.settings.resolution[1]
        video = pixels * self.settings.frames * _BITS_PER_PIXEL
        size = video if self.settings.frames > 1 else pixels * _PNG_BYTES_PER_PIXEL
        return Cost(
            seconds_per_evaluation=flops / _FLOPS, bytes_per_sample=size, machine="on one H100"
        )

    def peaks(self, batch: int) -> Peaks:
        """Estimate peak memory of a batch."""
        return estimate(
            self.weights.config,
            latent_shape=self.latent_shape,
            pixels=self.settings.resolution[0] * self.settings.resolution[1],
            frames=self.settings.frames,
            batch=batch,
            dtype=self.settings.dtype,
            decode_dtype=self.settings.decode_dtype,
            decoder=self.settings.decoder,
        )

    def check(self, prompts: Sequence[PromptRecord], steps: Sequence[int]) -> None:
        """Refuse step counts without a grid, and prompts without their image."""
        try:
            check_sampler(self.sampler, steps, self.settings.second_time)
        except ValueError as fault:
            raise UserError(f"{self._context.place}: sampler {fault}") from None
        self._texts = [seen_by_model(prompt) for prompt in prompts]
        if self.images is not None:
            self.images.check(prompts)

    def first_frame(self, prompt_id: str) -> Path | None:
        """Return the image that a prompt's videos begin from; None for text alone."""
        return None if self.images is None else self.images.path(prompt_id)

    def load(self, device: str) -> None:
        """Compute the text embeddings that are not there yet; networks come with the first batch.

        Raises:
            UserError: Weights are missing or do not fit, or packages are not installed.
        """
        from rcm_bench.diffusion.engine import Engine, require_packages

        require_packages(self._context.place)
        if missing := self.missing():
            raise UserError("\n".join(missing))
        self._engine = Engine(self, device, self._context.place)
        self._engine.embed(self._texts)

    def text_encoder(self) -> TextEncoder | None:
        """Return the text encoder; None with random weights."""
        if self.weights.root is None:
            return None
        return TextEncoder(
            root=self.weights.root,
            pipeline=self.weights.pipeline,
            max_tokens=self.tokens,
            dtype=self.settings.text_dtype,
            place=self._context.place,
        )

    def generate(self, items: Sequence[WorkItem]) -> Iterator[Media]:
        """Generate one planned batch; smaller parts of it where memory does not suffice."""
        assert self._engine is not None, "load comes before generate"
        yield from self._engine.generate(items)

    def deviations(self, item: WorkItem, most_seconds: float = float("inf")) -> "Deviations":
        """Return by part how far the chosen kernels lead from the float32 result; see there."""
        from rcm_bench.diffusion.deviation import deviations

        assert self._engine is not None, "load comes before deviations"
        return deviations(self._engine, self, item, most_seconds)

    def text_seconds(self, item: WorkItem) -> list[float] | str:
        """Return seconds of encoding one prompt, several times, or why there are none."""
        assert self._engine is not None, "load comes before text_seconds"
        return self._engine.text_seconds(item.prompt_rewritten)

    def held_bytes(self) -> int:
        """Return the bytes of the weights that are on the device now."""
        assert self._engine is not None, "load comes before held_bytes"
        return self._engine.held_bytes()

    def warm_up(self, item: WorkItem) -> None:
        """Load and compile what a sample needs; solvers with any number of steps take two."""
        few = item if isinstance(self.sampler, RcmSampler) else replace(item, steps=2)
        list(self.generate([few]))
