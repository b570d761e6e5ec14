"""The laboratory's networks: velocity DiTs from safetensors, sampled as the suite says.

Shape legend: B batch, C colour channels, S image side.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import Field

from rcm_bench.canonical import file_digest
from rcm_bench.diffusion.grids import trig_times
from rcm_bench.errors import UserError
from rcm_bench.suite import ConsistencySampler, EulerSampler, HeunSampler, Name, Strict
from rcm_bench.types import Cost, Media, ModelContext, PromptRecord, WorkItem
from rcm_bench.weights_files import find_weights, read_header

if TYPE_CHECKING:
    from torch import Tensor

    from rcm_distill.checkpoint import LoadedNet

DTYPE = "float32"
Sampler = EulerSampler | HeunSampler | ConsistencySampler


class LabSettings(Strict):
    """Keys of a suite's model entry that belong to this kind."""

    weights: Name = Field(description="Id of shipped weights, or a path to a .safetensors file")


class Model:
    """A DiT of the laboratory with one of the suite's samplers."""

    Settings = LabSettings

    def __init__(self, settings: LabSettings, sampler: Sampler, context: ModelContext) -> None:
        kind: str = sampler.kind
        if kind not in ("euler", "heun", "consistency"):
            raise UserError(
                f"{context.place}.sampler: kind 'lab' is sampled by euler, heun or consistency, "
                f"got a sampler of kind '{kind}'"
            )
        self.sampler = sampler
        self._place = f"{context.place}.weights"
        self.path = find_weights(settings.weights, context.folder, self._place)
        header = read_header(self.path, self._place)
        self._config = self._json(header.metadata, "config")
        self._card = self._json(header.metadata, "card")
        self._digest = file_digest(self.path)
        self._loaded: LoadedNet | None = None
        self._device = "cpu"

    def digest(self) -> str:
        """Return the SHA-256 of the weight file."""
        return self._digest

    def identity(self) -> dict[str, Any]:
        """Return weights, architecture, image size and dtype."""
        side = self._config.get("image_size")
        return {
            "kind": "lab",
            "weights": self._digest,
            "architecture": self._config,
            "resolution": [side, side],
            "frames": 1,
            "fps": None,
            "dtype": DTYPE,
        }

    def card(self) -> dict[str, Any]:
        """Return the model card in the weight file."""
        return self._card

    def evaluations(self, steps: int) -> int:
        """Return one evaluation per step, two under guidance, and Heun's corrections."""
        stages = 2 * steps - 1 if isinstance(self.sampler, HeunSampler) else steps
        return stages * (2 if _guidance(self.sampler) != 1 else 1)

    def cost(self) -> Cost:
        """Return what one evaluation takes on a slow CPU core pair, and the size of a small PNG."""
        return Cost(seconds_per_evaluation=0.003, bytes_per_sample=2500)

    def check(self, prompts: Sequence[PromptRecord], steps: Sequence[int]) -> None:
        """Refuse words that the laboratory's grammar does not have, and grids that do not exist."""
        from rcm_distill.lab.grammar import word_ids

        place = self._place.rpartition(".")[0]
        for prompt in prompts:
            try:
                word_ids(prompt.text)
            except ValueError as fault:
                raise UserError(
                    f"{place}: cannot draw prompt {prompt.prompt_id}: {fault}"
                ) from None
        for count in steps:
            try:
                _times(self.sampler, count)
            except ValueError as fault:
                raise UserError(f"{place}: sampler at {count} steps: {fault}") from None

    def load(self, device: str) -> None:
        """Read the weights onto a device."""
        from rcm_distill import checkpoint

        try:
            self._loaded = checkpoint.load(self.path, device)
        except ValueError as fault:
            raise UserError(f"{self._place}: {fault}") from None
        self._device = device

    def generate(self, items: Sequence[WorkItem]) -> Iterator[Media]:
        """Generate one planned batch at once."""
        import torch

        from rcm_distill.lab.render import to_uint8

        start = time.perf_counter()
        with torch.inference_mode():
            images, nfe = self._sample(items)
            finite = torch.isfinite(images).flatten(1).all(1)
            arrays = to_uint8(torch.nan_to_num(images, nan=-1.0, posinf=1.0, neginf=-1.0))
        seconds = (time.perf_counter() - start) / len(items)
        for array, good in zip(arrays, finite.tolist(), strict=True):
            yield Media(array=array, nfe=nfe, seconds={"sample": seconds}, finite=good)

    def _sample(self, items: Sequence[WorkItem]) -> "tuple[Tensor, int]":
        """Return images (B, C, S, S) in [-1, 1] on the CPU, and the evaluations per image."""
        import torch

        from rcm_distill.denoiser import guided, network_denoiser
        from rcm_distill.lab.grammar import NULL, encode
        from rcm_distill.lab.render import DATA_SCALE

        assert self._loaded is not None, "load comes before generate"
        net, config = self._loaded.net, self._loaded.config
        shape = (config.channels, config.image_size, config.image_size)
        rngs = [torch.Generator().manual_seed(item.seed) for item in items]
        noise = torch.stack([torch.randn(shape, generator=rng) for rng in rngs]).to(self._device)
        tokens = encode([item.prompt_rewritten for item in items]).to(self._device)
        counted = _Counted(net)
        denoiser = network_denoiser(counted, end_time=config.end_time)
        cond = net.encode(tokens)
        if (guidance := _guidance(self.sampler)) != 1:
            denoiser = guided(denoiser, guidance, net.encode(torch.full_like(tokens, NULL)))
        module = import_module(f"rcm_distill.samplers.{self.sampler.kind}")
        times = _times(self.sampler, items[0].steps)
        x0 = module.sample(denoiser, noise, cond, times=times, rngs=rngs)
        return (x0 / DATA_SCALE).cpu(), counted.rows // len(items)

    def _json(self, metadata: Mapping[str, str], key: str) -> dict[str, Any]:
        try:
            value = json.loads(metadata[key])
        except (KeyError, ValueError):
            value = None
        if not isinstance(value, dict):
            raise UserError(f"{self._place}: {self.path}: expected '{key}' as JSON in its header")
        return value


class _Counted:
    """A network that counts the samples it was evaluated on."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.rows = 0

    def __call__(self, x_rf: "Tensor", t_rf: "Tensor", cond: Any, *s_rf: "Tensor") -> "Tensor":
        self.rows += len(x_rf)
        velocity: Tensor = self.net(x_rf, t_rf, cond, *s_rf)
        return velocity


def _guidance(sampler: Sampler) -> float:
    return 1.0 if isinstance(sampler, ConsistencySampler) else sampler.guidance


def _times(sampler: Sampler, steps: int) -> tuple[float, ...]:
    """Return the TrigFlow times of a sampler, from noise to 0."""
    from rcm_distill.samplers.times import euler_times

    if isinstance(sampler, ConsistencySampler):
        return trig_times(sampler, steps)
    return euler_times(steps, sampler.shift)
