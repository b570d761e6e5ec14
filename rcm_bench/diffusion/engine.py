"""The networks at work: loaded when first needed, kept within the device's memory.

Shape legend: B batch, C latent channels, T latent frames, H and W latent height and width,
L text tokens, D text width.
"""

import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rcm_bench.canonical import text_digest
from rcm_bench.diffusion import loading, memory
from rcm_bench.diffusion.decode import autotuned, decode, encode_image
from rcm_bench.diffusion.grids import guidance_of
from rcm_bench.diffusion.halves import in_halves
from rcm_bench.diffusion.kernels import check_kernels, use_kernels
from rcm_bench.diffusion.marks import Marks
from rcm_bench.diffusion.networks import CosmosVelocity, Known, WanVelocity
from rcm_bench.diffusion.offload import Placement
from rcm_bench.diffusion.schedulers import scheduler_maker
from rcm_bench.diffusion.solvers import drawn, sample
from rcm_bench.diffusion.text import TextCache
from rcm_bench.errors import UserError
from rcm_bench.types import Media, WorkItem

if TYPE_CHECKING:
    from rcm_bench.diffusion.model import DiffusionModel

_PACKAGES = ("diffusers", "transformers", "accelerate", "imageio_ffmpeg")
_RANDOM_TOKENS = 64
_TEXT_ROUNDS = 3


def require_packages(place: str) -> None:
    """Refuse to start without the packages of the extra.

    Raises:
        UserError: Names what is missing.
    """
    lost = [name for name in _PACKAGES if find_spec(name) is None]
    if lost:
        raise UserError(
            f"{place}: needs {', '.join(lost)}; install with: pip install 'rcm-bench[diffusers]'"
        )


class Engine:
    """One model entry at work on one device.

    Args:
        model: The model entry: settings, weights, sampler.
        device: Where to sample.
        place: For messages.
    """

    def __init__(self, model: "DiffusionModel", device: str, place: str) -> None:
        self._model, self.device, self.place = model, device, place
        check_kernels(model.settings, device, place)
        self._encoder = model.text_encoder()
        self._cache = TextCache(self._encoder.identity()) if self._encoder else None
        self._placement: Placement | None = None
        self.encoded = 0

    def embed(self, texts: Sequence[str]) -> None:
        """Compute the embeddings that are not there yet; the encoder is freed afterwards."""
        if self._encoder is not None and self._cache is not None:
            wanted = [*texts, *self._negative()]
            self.encoded += self._cache.fill(wanted, self._encoder, self.device)

    def text_seconds(self, text: str) -> list[float] | str:
        """Return seconds of encoding one text after a first time, or why there are none."""
        if self._encoder is None:
            return "random weights have no text encoder: the text is random too"
        seconds = []
        self.unload()
        with self._encoder.loaded(self.device) as encode:
            for _ in range(1 + _TEXT_ROUNDS):
                start = self._clock()
                encode([text])
                seconds.append(self._clock() - start)
        return seconds[1:]

    def held_bytes(self) -> int:
        """Return the bytes of the networks' weights that are on the device now."""
        return 0 if self._placement is None else self._placement.held_bytes()

    def unload(self) -> None:
        """Drop the networks."""
        self._placement = None
        loading.free(self.device)

    def generate(self, items: Sequence[WorkItem]) -> Iterator[Media]:
        """Make one batch; where memory does not suffice, its halves, down to single samples."""
        return in_halves(self._batch, items, self.device)

    def _batch(self, items: Sequence[WorkItem]) -> list[Media]:
        self.embed([item.prompt_rewritten for item in items])
        placement = self.placed(len(items))
        marks = Marks(self.device)
        rngs = [torch.Generator().manual_seed(item.seed) for item in items]
        noise = drawn(rngs, self._model.latent_shape, self.device)
        with torch.inference_mode():
            with placement.transformer() as net, self.first_frames(items, placement) as known:
                velocity = self.velocity(net, items, known)
                latents = sample(
                    self._model.sampler,
                    velocity,
                    noise,
                    rngs,
                    items[0].steps,
                    scheduler_maker(self._model, self.place),
                )
            marks.end("network")
            with placement.vae() as vae, autotuned(self._model.settings.autotune):
                pixels = [decode(vae, rows) for rows in latents]
        marks.end("decode")
        seconds = {name: value / len(items) for name, value in marks.seconds().items()}
        settings = self._model.settings
        return [
            Media(
                array=pixel.frames if settings.frames > 1 else pixel.frames[0],
                nfe=velocity.evaluations,
                seconds=seconds,
                fps=settings.fps,
                finite=pixel.finite,
                made={"batch": len(items), "memory": placement.mode},
            )
            for pixel in pixels
        ]

    def velocity(
        self,
        net: Any,
        items: Sequence[WorkItem],
        known: Known | None,
        guidance: float | None = None,
    ) -> WanVelocity | CosmosVelocity:
        """Return a transformer as a velocity with the items' prompts, and guided.

        Args:
            net: The transformer.
            items: Whose prompts.
            known: First frames of a network that goes on from them.
            guidance: The sampler's by default.
        """
        guidance = guidance_of(self._model.sampler) if guidance is None else guidance
        text_BLD = self._texts([item.prompt_rewritten for item in items], net.dtype)
        negative_BLD = None
        if guidance != 1:
            negative_BLD = self._texts(self._negative() * len(items), net.dtype)
        second = self._model.settings.second_time
        if self._model.family.name == "wan":
            return WanVelocity(
                net=net,
                text_BLD=text_BLD,
                negative_BLD=negative_BLD,
                guidance=guidance,
                second_time=second,
            )
        height, width = self._model.settings.resolution
        fps = self._model.settings.fps
        return CosmosVelocity(
            net=net,
            text_BLD=text_BLD,
            negative_BLD=negative_BLD,
            guidance=guidance,
            size=(height, width),
            fps=None if fps is None else round(fps),
            known=known,
            second_time=second,
        )

    def _negative(self) -> list[str]:
        guided = guidance_of(self._model.sampler) != 1
        return [self._model.settings.negative_prompt] if guided else []

    def _texts(self, texts: Sequence[str], dtype: torch.dtype) -> Tensor:
        """Return embeddings (B, L, D), padded with zeros on the device: they are most of it."""
        if self._cache is not None:
            rows = [self._cache.read(text) for text in texts]
        else:
            width = int(self._model.weights.config[self._model.family.text_width])
            rows = [_random_text(text, self._model.tokens, width) for text in texts]
        shape = len(rows), self._model.tokens, rows[0].shape[1]
        text_BLD = torch.zeros(shape, dtype=dtype, device=self.device)
        for padded_LD, row_LD in zip(text_BLD, rows, strict=True):
            padded_LD[: len(row_LD)] = row_LD.to(self.device).to(dtype)
        return text_BLD

    def first_frames(self, items: Sequence[WorkItem], placement: Placement) -> Any:
        """Return a context with the known latents, encoded while the autoencoder is there."""
        from contextlib import nullcontext

        known, images = self.unknown(len(items)), self._model.images
        if known is None or images is None:
            return nullcontext(known)
        with placement.vae() as vae:
            for row, item in zip(known.latents, items, strict=True):
                row[:, :1] = encode_image(vae, images.read(item.prompt_id))
        return nullcontext(Known(known.latents, 1))

    def unknown(self, batch: int) -> Known | None:
        """Return what a network that could go on from frames sees where it has none."""
        if "VideoToWorld" not in self._model.weights.pipeline:
            return None
        return Known(torch.zeros(batch, *self._model.latent_shape, device=self.device), 0)

    def placed(self, batch: int) -> Placement:
        """Load the networks, and decide where their weights stay."""
        if self._placement is None:
            claim(self)
            settings = self._model.settings
            mode = settings.memory
            if mode == "auto":
                mode = _mode(self._model.peaks(batch), self.device, self.place)
            root = self._model.weights.root
            single = self._model.weights.single
            vae = loading.load_vae(
                root, settings.decode_dtype, self.place, settings.decoder, single
            )
            where = "cpu" if mode == "group" else self.device
            net = self.transformer(settings.dtype, where)
            net = use_kernels(net, settings, mode, self.place)
            self._placement = Placement(mode=mode, device=self.device, net=net, autoencoder=vae)
        return self._placement

    def transformer(self, dtype: str, device: str) -> Any:
        """Return the transformer in a dtype; random weights are drawn on the device."""
        weights = self._model.weights
        family, root = self._model.family, weights.root
        second = self._model.settings.second_time
        if root is None:
            told = second is not None
            return loading.random_transformer(family, weights.config, dtype, device, told)
        import diffusers

        kind, single = getattr(diffusers, family.transformer), weights.single
        plain = weights.lora is None and second is None and single is None
        if weights.student is None and plain:
            return loading.from_folder(kind, root, "transformer", dtype, self.place)
        if weights.student is not None:
            prefix, told = self._model.settings.prefix, second is not None
            expected = dict(weights.expected)
            expected = expected or loading.network_shapes(family, weights.config, told)
            state = loading.student_tensors(weights.student, family, prefix, expected, second)
        elif single is not None:
            from rcm_bench.diffusion.single_file_weights import read_network

            state = read_network(single, kind, root, "transformer", None).state_dict()
        else:
            state = loading.folder_tensors(root, self.place)
        if weights.lora is not None:
            scale = self._model.settings.lora_scale
            state = loading.with_lora(state, weights.lora, family, scale, f"{self.place}.lora")
        return loading.transformer_of(family, weights.config, state, dtype, second is not None)

    def _clock(self) -> float:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()


_working: list[Engine] = []


def claim(engine: Engine) -> None:
    """Give the device to one engine: others drop their networks where memory is scarce.

    On a CPU all stay. On a GPU an engine stays if the next one fits beside it.
    """
    if engine.device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info()
        needed = engine._model.peaks(1).at("resident")
        for other in [e for e in _working if e is not engine]:
            if needed > memory.SHARE * free:
                other.unload()
                _working.remove(other)
                free, _ = torch.cuda.mem_get_info()
    if engine not in _working:
        _working.append(engine)


def _mode(peaks: memory.Peaks, device: str, place: str) -> memory.Mode:
    if not device.startswith("cuda"):
        return "resident"
    free, total = torch.cuda.mem_get_info()
    mode = memory.choose(peaks, float(free))
    if mode is None:
        raise UserError(
            f"{place}: needs about {peaks.at('group') / 1e9:.0f} GB of GPU memory even block by "
            f"block, got {free / 1e9:.0f} of {total / 1e9:.0f} GB free; use a smaller resolution, "
            "fewer frames or run.batch_size: 1"
        )
    return mode


def _random_text(text: str, tokens: int, width: int) -> Tensor:
    rng = torch.Generator().manual_seed(int(text_digest(text)[:15], 16))
    return torch.randn(min(_RANDOM_TOKENS, tokens), width, generator=rng)
