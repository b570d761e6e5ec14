"""What every sampler checks and does."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def fill_times(t: float, like: Tensor) -> Tensor:
    """Return one time per sample (B,)."""
    return torch.full((len(like),), t, dtype=like.dtype, device=like.device)


def draw_noise(rngs: Sequence[Generator], like: Tensor) -> Tensor:
    """Draw standard normal noise, on the CPU in float32, from one generator per sample.

    A sample's noise depends on its own generator only, not on the batch or the device.

    Raises:
        ValueError: There is not one generator per sample.
    """
    if len(rngs) != len(like):
        raise ValueError(f"expected one generator per sample ({len(like)}), got {len(rngs)}")
    noise = torch.stack([torch.randn(like.shape[1:], generator=rng) for rng in rngs])
    return noise.to(device=like.device, dtype=like.dtype)
