"""The stochastic consistency sampler of rCM: predict x0, add fresh noise, repeat."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser
from rcm_distill.samplers._common import draw_noise, fill_times
from rcm_distill.samplers.times import check_times
from rcm_distill.samplers.times import consistency_times as consistency_times


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
    renoise: float = 1.0,
) -> Tensor:
    """Sample x0 <- denoiser(x, t), x <- cos t' x0 + sin t' eps (Song et al. 2023, algorithm 1).

    Below full re-noising, eps = sqrt(1 - renoise^2) (x - cos t x0) / sin t + renoise noise: 0 is
    the deterministic sampler that FastGen calls "ode". For a consistency model only 1 keeps the law
    of the data: the noise that it finds in x belongs to the x0 that it predicts.

    The first x is sin(times[0]) noise, as published: the cos(times[0]) x0 part is left out.

    Args:
        denoiser: A consistency model.
        noise: Standard normal noise (B, ...).
        cond: Condition per sample.
        times: TrigFlow times from noise to 0, such as ``consistency_times`` gives.
        rngs: One CPU generator per sample. Noise is drawn from them in float32, so a sample does
            not depend on the batch that it is in.
        renoise: Share of fresh noise in [0, 1]; 1 is the published sampler.

    Returns:
        Samples (B, ...), at least float32.

    Raises:
        ValueError: The times do not fall to 0, there is not one generator per sample, or the share
            is none.
    """
    check_times(times, repeats=True)
    if not 0 <= renoise <= 1:
        raise ValueError(f"renoise must be in [0, 1], got {renoise}")
    if len(rngs) != len(noise):
        raise ValueError(f"expected one generator per sample ({len(noise)}), got {len(rngs)}")
    x = noise.to(torch.promote_types(noise.dtype, torch.float32)) * math.sin(times[0])
    for t, t_next in zip(times, times[1:], strict=False):
        x0 = denoiser(x, fill_times(t, x), cond).x0
        if t_next == 0:
            return x0
        eps = renoise * draw_noise(rngs, like=x0)
        if renoise < 1:
            found = (x - math.cos(t) * x0) / math.sin(t)
            eps = eps + math.sqrt(1 - renoise**2) * found
        x = math.cos(t_next) * x0 + math.sin(t_next) * eps
    raise AssertionError("a checked grid ends at 0")
