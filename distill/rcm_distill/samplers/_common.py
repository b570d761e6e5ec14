"""What every sampler checks and does."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def check_times(times: Sequence[float]) -> None:
    """Refuse time grids that do not run from noise to data.

    Raises:
        ValueError: Fewer than two times, not decreasing, or not ending at 0.
    """
    decreasing = all(a > b for a, b in zip(times, times[1:], strict=False))
    if len(times) < 2 or not decreasing or times[-1] != 0 or times[0] > 1.5708:
        raise ValueError(
            f"times must fall from at most pi/2 to 0 in at least one step, got {tuple(times)}"
        )


def check_steps(steps: int) -> None:
    """Refuse a number of steps below 1."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")


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
