"""How a network is computed, apart from what it computes: attention, compilation, the decoder."""

from typing import TYPE_CHECKING, Any

from rcm_bench.diffusion.quiet import quiet
from rcm_bench.errors import UserError

if TYPE_CHECKING:
    from rcm_bench.diffusion.memory import Mode
    from rcm_bench.diffusion.settings import DiffusionSettings

PLAIN = {"attention": "native", "compile": "none", "decoder": "diffusers", "autotune": False}
_BACKENDS = {"cudnn": "_native_cudnn", "math": "_native_math"}  # diffusers'


def kernels(settings: "DiffusionSettings") -> dict[str, Any]:
    """Return the choices that differ from diffusers as it comes: they round differently."""
    chosen = {key: getattr(settings, key) for key in PLAIN}
    return {key: value for key, value in chosen.items() if value != PLAIN[key]}


def check_kernels(settings: "DiffusionSettings", device: str, place: str) -> None:
    """Refuse what only a GPU can do, before weights are read.

    Raises:
        UserError: Says which, and what there is instead.
    """
    if device.startswith("cuda"):
        return
    for key, value, instead in (
        ("attention", "cudnn", "native"),
        ("decoder", "triton", "eager or compiled"),
    ):
        if getattr(settings, key) == value:
            raise UserError(
                f"{place}.{key}: '{value}' needs a CUDA device, got '{device}'; use {instead}"
            )


def use_kernels(net: Any, settings: "DiffusionSettings", mode: "Mode", place: str) -> Any:
    """Give a transformer its attention and compile its blocks, as the suite says.

    Args:
        net: diffusers' transformer.
        settings: Of the model entry.
        mode: Where its weights will stay.
        place: For messages.

    Raises:
        UserError: Blocks that come and go cannot be compiled.
    """
    if settings.attention != "native":
        from diffusers.models.attention_dispatch import attention_backend

        # diffusers makes what one network is given the choice of all others: a stock teacher in the
        # same run would be stock no more. The context puts back what was.
        with quiet(), attention_backend("native"):
            net.set_attention_backend(_BACKENDS[settings.attention])
    if settings.compile == "blocks":
        if mode == "group":
            raise UserError(
                f"{place}.compile: blocks that are moved to the device one by one cannot be "
                "compiled; use 'compile: none', or 'memory: model' if it fits"
            )
        for block in net.blocks if hasattr(net, "blocks") else net.transformer_blocks:
            block.compile()
    return net
