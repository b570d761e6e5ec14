"""How far chosen kernels lead from the float32 result, beside plain bfloat16 as diffusers has it.

Faster ways must not change the picture: the deviation of network and decoder, each over that of
diffusers' own in the same dtype, should not exceed 1.1.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from rcm_bench.canonical import digest_of
from rcm_bench.diffusion import loading
from rcm_bench.diffusion.decode import autotuned, video_of
from rcm_bench.diffusion.kernels import kernels
from rcm_bench.faults import message_of
from rcm_bench.types import WorkItem

if TYPE_CHECKING:
    from rcm_bench.diffusion.engine import Engine
    from rcm_bench.diffusion.model import DiffusionModel

TIMES = (0.99, 0.75, 0.5)  # rectified-flow times at which a network is asked


class Deviation(NamedTuple):
    """Root mean squares of what is off, over the exact result's.

    Attributes:
        plain: Of diffusers as it comes, in the same dtype.
        here: Of the kernels that the suite chose.
    """

    plain: float
    here: float


def rms(got: Tensor, exact: Tensor) -> float:
    """Return |got - exact| / |exact|, root mean squares over all values, in float64.

    Args:
        got: Any shape and dtype.
        exact: The same shape; the float32 result where nothing more exact is to be had.
    """
    norm = torch.linalg.vector_norm
    exact = exact.double()
    return float(norm(got.double() - exact) / norm(exact))


class Deviations(NamedTuple):
    """What was measured of a model entry.

    Attributes:
        measured: By part, ``network`` and ``decode``; without parts in float32, which have nothing
            to lose, and nothing where all is as diffusers has it.
        reasons: By part, why it failed, or what its figure does not cover.
    """

    measured: dict[str, Deviation]
    reasons: dict[str, str]


_known: dict[str, Deviations] = {}


def deviations(
    engine: "Engine", model: "DiffusionModel", item: WorkItem, most_seconds: float = float("inf")
) -> Deviations:
    """Measure network and decoder of a model entry on one item's noise and prompt.

    Networks come one after the other, so that the largest fits alone; a part that fails, for want
    of memory say, leaves the other. What equal weights, kernels and shapes gave before in this
    process is not measured again. Guidance is left out: it is no property of the kernels.

    Args:
        engine: At work on the model.
        model: The model entry.
        item: Whose noise and prompt.
        most_seconds: The float32 network is asked at no further time after so long.
    """
    settings = model.settings
    if not kernels(settings):
        return Deviations({}, {})
    parts = [model.weights.identity(engine.place), kernels(settings), model.latent_shape]
    key = digest_of([*parts, settings.dtype, settings.decode_dtype])
    if key not in _known:
        rng = torch.Generator().manual_seed(item.seed)
        noise = torch.randn(model.latent_shape, generator=rng).to(engine.device)
        found = Deviations({}, {})
        if settings.decode_dtype != "float32":
            _try("decode", lambda: _decode(engine, model, noise), found)
        if settings.dtype != "float32":
            _try("network", lambda: _network(engine, model, noise, item, most_seconds), found)
        loading.free(engine.device)
        _known[key] = found
    return _known[key]


def _try(part: str, measure: Callable[[], tuple[Deviation, str]], found: Deviations) -> None:
    """Measure a part, or note why it failed."""
    try:
        found.measured[part], note = measure()
    except Exception as fault:  # the other part, and all that was timed, stay
        note = f"failed: {message_of(fault)}"
    if note:
        found.reasons[part] = note


def _decode(engine: "Engine", model: "DiffusionModel", latents: Tensor) -> tuple[Deviation, str]:
    root, dtype = model.weights.root, model.settings.decode_dtype
    single = model.weights.single
    engine.unload()

    @torch.inference_mode()
    def video(vae: Any) -> Tensor:
        made = video_of(vae.to(engine.device), latents).cpu()
        vae.to("cpu")
        loading.free(engine.device)
        return made

    with exact_products():
        exact = video(loading.load_vae(root, "float32", engine.place, single=single))
    plain = video(loading.load_vae(root, dtype, engine.place, single=single))
    placement, inference = engine.placed(1), torch.inference_mode()
    with inference, placement.vae() as vae, autotuned(model.settings.autotune):
        here = video_of(vae, latents).cpu()
    return Deviation(rms(plain, exact), rms(here, exact)), ""


def _network(
    engine: "Engine", model: "DiffusionModel", noise: Tensor, item: WorkItem, most_seconds: float
) -> tuple[Deviation, str]:
    engine.embed([item.prompt_rewritten])
    engine.unload()

    # Networks are made outside: blocks compiled for others do not serve tensors made in inference.
    @torch.inference_mode()
    def velocities(net: Any, times: Sequence[float], most_seconds: float = float("inf")) -> Tensor:
        velocity = engine.velocity(net, [item], engine.unknown(1), guidance=1.0)
        made: list[Tensor] = []
        start = time.monotonic()
        for t in times:
            if not made or time.monotonic() - start < most_seconds:
                made.append(velocity(noise[None], t).cpu())
        return torch.stack(made)

    def own(dtype: str, *arguments: Any) -> Tensor:
        made = velocities(engine.transformer(dtype, engine.device).to(engine.device), *arguments)
        loading.free(engine.device)
        return made

    with exact_products():
        exact = own("float32", TIMES, most_seconds)
    times = TIMES[: len(exact)]
    plain = own(model.settings.dtype, times)
    with engine.placed(1).transformer() as net:
        here = velocities(net, times)
    note = f"asked at {len(times)} of {len(TIMES)} times: float32 took longer than most_seconds"
    found = Deviation(rms(plain, exact), rms(here, exact))
    return found, note if len(times) < len(TIMES) else ""


@contextmanager
def exact_products() -> Iterator[None]:
    """Let a GPU multiply float32 numbers as such and not as TF32, then restore what was set."""
    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = cudnn
        torch.backends.cuda.matmul.allow_tf32 = matmul
