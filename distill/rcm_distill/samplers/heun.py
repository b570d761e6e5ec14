"""Heun's method on the probability flow in rectified-flow time (order 2)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser
from rcm_distill.samplers.euler import rf_time, velocity_at
from rcm_distill.samplers.times import check_times


def nfe(times: Sequence[float], *, guided: bool) -> int:
    """Return network evaluations per sample: two a step, one in the last; doubled by guidance."""
    return (2 * (len(times) - 1) - 1) * (2 if guided else 1)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    noise: Tensor,
    cond: Any,
    *,
    times: Sequence[float],
    rngs: Sequence[Generator] = (),
) -> Tensor:
    """Integrate dx_rf/dt_rf = v by the trapezoidal rule with an Euler prediction.

    The last step is Euler's, as in EDM (Karras et al. 2022, algorithm 1); its local error is of
    order 2, so the order of the whole stays 2.

    Args:
        denoiser: Denoiser, guided if wished.
        noise: Standard normal noise (B, ...).
        cond: Condition per sample.
        times: TrigFlow times from noise to 0, such as ``euler.euler_times`` gives.
        rngs: Not used: the method is deterministic.

    Returns:
        Samples (B, ...), at least float32.
    """
    check_times(times)
    x_rf = noise.to(torch.promote_types(noise.dtype, torch.float32)) * rf_time(times[0])
    for t, t_next in zip(times, times[1:], strict=False):
        h = rf_time(t_next) - rf_time(t)
        v = velocity_at(denoiser, x_rf, t, cond)
        predicted = x_rf + h * v
        if t_next == 0:
            return predicted
        x_rf = x_rf + 0.5 * h * (v + velocity_at(denoiser, predicted, t_next, cond))
    raise AssertionError("a checked grid ends at 0")
