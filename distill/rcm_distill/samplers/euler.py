"""Euler's method on the probability flow in rectified-flow time: the teacher's sampler."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser
from rcm_distill.samplers._common import fill_times
from rcm_distill.samplers.times import check_times
from rcm_distill.samplers.times import euler_times as euler_times
from rcm_distill.time import rf_velocity


def nfe(times: Sequence[float], *, guided: bool) -> int:
    """Return network evaluations per sample: one a step, two where guidance needs both."""
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
    """Integrate dx_rf/dt_rf = v by x_rf <- x_rf + (t'_rf - t_rf) v.

    Args:
        denoiser: Denoiser, guided if wished.
        noise: Standard normal noise (B, ...).
        cond: Condition per sample.
        times: TrigFlow times from noise to 0, such as ``euler_times`` gives.
        rngs: Not used: the method is deterministic.

    Returns:
        Samples (B, ...), at least float32.
    """
    check_times(times)
    x_rf = noise.to(torch.promote_types(noise.dtype, torch.float32)) * rf_time(times[0])
    for t, t_next in zip(times, times[1:], strict=False):
        x_rf = x_rf + (rf_time(t_next) - rf_time(t)) * velocity_at(denoiser, x_rf, t, cond)
    return x_rf


def velocity_at(
    denoiser: Denoiser, x_rf: Tensor, t: float, cond: Any, *, s_B: Tensor | None = None
) -> Tensor:
    """Return the rectified-flow velocity at x_rf (B, ...) and one TrigFlow time for all.

    With end times (B,) it is a trajectory model's average velocity on the way to them.
    """
    x_t, t_B = x_rf * (math.cos(t) + math.sin(t)), fill_times(t, x_rf)
    return rf_velocity(denoiser(x_t, t_B, cond, s_B=s_B).F, x_t, t_B)


def rf_time(t: float) -> float:
    """Return sin t / (cos t + sin t)."""
    return math.sin(t) / (math.cos(t) + math.sin(t))
