"""The stochastic consistency sampler of rCM: predict x0, add fresh noise, repeat."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser
from rcm_distill.samplers._common import check_times, draw_noise, fill_times

Preset = Literal["paper", "repository"]
# paper: 2510.08431v3, evaluation. repository: inference script of NVlabs/rcm at 5b41aa9.
_LATER_TIMES: dict[str, dict[int, tuple[float, ...]]] = {
    "paper": {
        1: (),
        2: (1.3,),
        3: (1.3, 1.0),
        4: (1.3, 1.0, 0.6),
    },
    "repository": {
        1: (),
        2: (1.5,),
        3: (1.5, 1.4),
        4: (1.5, 1.4, 1.0),
    },
}


def consistency_times(
    steps: int, sigma_max: float = 80.0, preset: Preset = "paper"
) -> tuple[float, ...]:
    """Return the published grid atan(sigma_max), later times, 0.

    Args:
        steps: 1 to 4.
        sigma_max: Noise level of the first step; 80 for images, up to 1600 for video.
        preset: ``"paper"`` goes on with 1.3, 1.0, 0.6; ``"repository"`` with 1.5, 1.4, 1.0.

    Returns:
        ``steps + 1`` TrigFlow times. Any other grid can be given to ``sample`` itself.

    Raises:
        ValueError: There is no such preset, or it has no such number of steps.
    """
    if preset not in _LATER_TIMES:
        raise ValueError(f"unknown preset '{preset}'. Available: {', '.join(_LATER_TIMES)}.")
    grids = _LATER_TIMES[preset]
    if steps not in grids:
        raise ValueError(
            f"preset '{preset}' has no grid of {steps} steps. "
            f"Available: {', '.join(map(str, grids))}; give the times themselves for others."
        )
    times = (math.atan(sigma_max), *grids[steps], 0.0)
    if sigma_max <= 0 or any(a <= b for a, b in zip(times, times[1:], strict=False)):
        raise ValueError(
            f"sigma_max must lie above the later times {grids[steps]}, got {sigma_max}"
        )
    return times


def nfe(times: Sequence[float], *, guided: bool = False) -> int:
    """Return network evaluations per sample: one a step; students have their guidance built in."""
    return (len(times) - 1) * (2 if guided else 1)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    noise: Tensor,
    cond: Any,
    *,
    times: Sequence[float],
    rngs: Sequence[Generator],
) -> Tensor:
    """Sample x0 <- denoiser(x, t), x <- cos t' x0 + sin t' eps (Song et al. 2023, algorithm 1).

    The first x is sin(times[0]) noise, as published: the cos(times[0]) x0 part is left out.

    Args:
        denoiser: A consistency model.
        noise: Standard normal noise (B, ...).
        cond: Condition per sample.
        times: TrigFlow times from noise to 0, such as ``consistency_times`` gives.
        rngs: One CPU generator per sample. Noise is drawn from them in float32, so a sample does
            not depend on the batch that it is in.

    Returns:
        Samples (B, ...), at least float32.

    Raises:
        ValueError: The times do not fall to 0, or there is not one generator per sample.
    """
    check_times(times)
    if len(rngs) != len(noise):
        raise ValueError(f"expected one generator per sample ({len(noise)}), got {len(rngs)}")
    x = noise.to(torch.promote_types(noise.dtype, torch.float32)) * math.sin(times[0])
    for t, t_next in zip(times, times[1:], strict=False):
        x0 = denoiser(x, fill_times(t, x), cond).x0
        if t_next == 0:
            return x0
        x = math.cos(t_next) * x0 + math.sin(t_next) * draw_noise(rngs, like=x0)
    raise AssertionError("a checked grid ends at 0")
