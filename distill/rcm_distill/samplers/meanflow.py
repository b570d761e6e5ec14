"""The sampler of MeanFlow: jumps by average velocities (Geng et al. 2025, 2505.13447)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser
from rcm_distill.samplers._common import fill_times
from rcm_distill.samplers.euler import rf_time, velocity_at
from rcm_distill.samplers.times import check_times
from rcm_distill.samplers.times import euler_times as euler_times


def nfe(times: Sequence[float], *, guided: bool = False) -> int:
    """Return network evaluations per sample: one a jump; students have their guidance built in."""
    return (len(times) - 1) * (2 if guided else 1)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    noise: Tensor,
    cond: Any,
    *,
    times: Sequence[float],
    rngs: Sequence[Generator] = (),
) -> Tensor:
    """Jump x_rf <- x_rf - (t_rf - s_rf) u(x_rf, t, s) (algorithm 2, any number of steps).

    Args:
        denoiser: A trajectory model: one that takes end times.
        noise: Standard normal noise (B, ...).
        cond: Condition per sample.
        times: TrigFlow times from noise to 0, such as ``euler_times`` gives.
        rngs: Not used: the method is deterministic.

    Returns:
        Samples (B, ...), at least float32.
    """
    check_times(times)
    x_rf = noise.to(torch.promote_types(noise.dtype, torch.float32)) * rf_time(times[0])
    for t, s in zip(times, times[1:], strict=False):
        u = velocity_at(denoiser, x_rf, t, cond, s_B=fill_times(s, x_rf))
        x_rf = x_rf - (rf_time(t) - rf_time(s)) * u
    return x_rf
