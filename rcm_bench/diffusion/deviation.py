"""How far chosen kernels lead from the float32 result, beside plain bfloat16 as diffusers has it.

Faster ways must not change the picture: the deviation of network and decoder, each over that of
diffusers' own in the same dtype, should not exceed 1.1.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from rcm_bench.canonical import digest_of
from rcm_bench.diffusion import loading
from rcm_bench.diffusion.decode import autotuned, video_of
from rcm_bench.diffusion.kernels import kernels
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


_known: dict[str, dict[str, Deviation]] = {}


def deviations(engine: "Engine", model: "DiffusionModel", item: WorkItem) -> dict[str, Deviation]:
    """Measure network and decoder of a model entry on one item's noise and prompt.

    Networks come one after the other, so that the largest fits alone. What equal weights, kernels
    and shapes gave before in this process is not measured again.

    Args:
        engine: At work on the model.
        model: The model entry.
        item: Whose noise and prompt.

    Returns:
        By part, ``network`` and ``decode``; without parts in float32, which have nothing to lose.
    """
    settings = model.settings
    parts = [model.weights.identity(engine.place), kernels(settings), model.latent_shape]
    key = digest_of([*parts, settings.dtype, settings.decode_dtype])
    if key not in _known:
        rng = torch.Generator().manual_seed(item.seed)
        noise = torch.randn(model.latent_shape, generator=rng).to(engine.device)
        found = {}
        with torch.inference_mode():
            if settings.decode_dtype != "float32":
                found["decode"] = _decode(engine, model, noise)
            if settings.dtype != "float32":
                found["network"] = _network(engine, model, noise, item)
        _known[key] = found
    return _known[key]


def _decode(engine: "Engine", model: "DiffusionModel", latents: Tensor) -> Deviation:
    root, dtype = model.weights.root, model.settings.decode_dtype
    engine.unload()

    def video(vae: Any) -> Tensor:
        made = video_of(vae.to(engine.device), latents).cpu()
        vae.to("cpu")
        loading.free(engine.device)
        return made

    with exact_products():
        exact = video(loading.load_vae(root, "float32", engine.place))
    plain = video(loading.load_vae(root, dtype, engine.place))
    with engine.placed(1).vae() as vae, autotuned(model.settings.autotune):
        here = video_of(vae, latents).cpu()
    return Deviation(rms(plain, exact), rms(here, exact))


def _network(engine: "Engine", model: "DiffusionModel", noise: Tensor, item: WorkItem) -> Deviation:
    engine.embed([item.prompt_rewritten])
    engine.unload()

    def velocities(net: Any) -> Tensor:
        velocity = engine.velocity(net, [item], engine.unknown(1))
        return torch.stack([velocity(noise[None], t).cpu() for t in TIMES])

    def own(dtype: str) -> Tensor:
        made = velocities(engine.transformer(dtype, engine.device).to(engine.device))
        loading.free(engine.device)
        return made

    with exact_products():
        exact = own("float32")
    plain = own(model.settings.dtype)
    with engine.placed(1).transformer() as net:
        here = velocities(net)
    return Deviation(rms(plain, exact), rms(here, exact))


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
