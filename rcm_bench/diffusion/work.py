"""Operations of networks and decoder, and the speed of light of a GPU: pure arithmetic."""

from collections.abc import Mapping
from typing import Any

from rcm_bench.diffusion.families import parameters

# Dense bfloat16 operations a second, from NVIDIA's data sheets (SXM modules, without sparsity).
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
# 275 TFLOP for 81 frames of 480x832, counted for diffusers' decoder; ours needs 13 fewer.
_DECODE_FLOPS_PER_PIXEL = 275e12 / (81 * 480 * 832)


def evaluation_flops(config: Mapping[str, Any], latent_shape: tuple[int, int, int, int]) -> float:
    """Return operations of one evaluation: matrix products of all tokens, and self-attention.

    Cross-attention is left out: 512 tokens of text against tens of thousands.

    Args:
        config: The transformer's configuration.
        latent_shape: C, T, H, W of one sample.
    """
    _, frames, height, width = latent_shape
    patch = config["patch_size"]
    tokens = frames * height * width / (patch[0] * patch[1] * patch[2])
    dim = int(config["num_attention_heads"]) * int(config["attention_head_dim"])
    attention = 4 * int(config["num_layers"]) * dim * tokens**2
    return float(2 * parameters(config) * tokens + attention)


def decode_flops(pixels: int, frames: int) -> float:
    """Return operations of decoding one sample."""
    return _DECODE_FLOPS_PER_PIXEL * pixels * frames


def peak_of(device: str) -> float | None:
    """Return a GPU's dense bfloat16 operations a second; None where they are not known here."""
    return next((peak for name, peak in PEAKS.items() if name in device), None)
