"""UniPC: a multistep predictor and corrector for teachers (Zhao et al. 2023, 2302.04867)."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from rcm_distill.denoiser import Denoiser
from rcm_distill.samplers._common import fill_times
from rcm_distill.samplers.times import check_times
from rcm_distill.samplers.times import euler_times as euler_times

ORDER = 2
"""Order of Wan's and Cosmos-Predict2's pipelines."""


class _Step(NamedTuple):
    """x <- carry x + centre m_0 + sum_i weights_i (m_i - m_0), latest m_i last."""

    carry: float
    centre: float
    weights: tuple[float, ...]


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
    order: int = ORDER,
) -> Tensor:
    """Integrate the probability flow in lambda = log(cos t / sin t) by x0 predictions.

    Each step predicts with UniP of the given order and corrects with UniC, which reuses the next
    step's evaluation (algorithm 5 to 8, B(h) = e^h - 1). The first steps have the order that the
    history allows; the last, to t = 0, is of order 1.

    Args:
        denoiser: Denoiser, guided if wished.
        noise: Standard normal noise (B, ...).
        cond: Condition per sample.
        times: TrigFlow times from noise to 0, such as ``euler_times`` gives.
        rngs: Not used: the method is deterministic.
        order: Order of the predictor, 1 to 3.

    Returns:
        Samples (B, ...), at least float32.

    Raises:
        ValueError: The times do not fall to 0, or the order is not known.
    """
    check_times(times)
    if order not in (1, 2, 3):
        raise ValueError(f"order must be 1, 2 or 3, got {order}")
    x = noise.to(torch.promote_types(noise.dtype, torch.float32)) * math.sin(times[0])
    before, last_order = x, 0
    seen: list[Tensor] = []
    for k, (t, t_next) in enumerate(pairwise(times)):
        predictions = [*seen, denoiser(x, fill_times(t, x), cond).x0]
        if k:
            step = _coefficients(times[: k + 1], last_order, corrected=True)
            x = _apply(step, before, predictions[-2 - len(step.weights) + 1 :], centre=-2)
        seen, before = predictions[-3:], x
        if t_next == 0:
            return seen[-1]
        last_order = min(order, k + 1, len(times) - 1 - k)
        step = _coefficients(times[: k + 2], last_order, corrected=False)
        x = _apply(step, x, seen[len(seen) - 1 - len(step.weights) :], centre=-1)
    raise AssertionError("a checked grid ends at 0")


def _apply(step: _Step, x: Tensor, predictions: list[Tensor], *, centre: int) -> Tensor:
    centred = predictions[centre]
    others = [m for m in predictions if m is not centred]
    out = step.carry * x + step.centre * centred
    for weight, m in zip(step.weights, others, strict=True):
        out = out + weight * (m - centred)
    return out


def _coefficients(times: Sequence[float], order: int, *, corrected: bool) -> _Step:
    """Return the step from times[-2] to times[-1], in arithmetic of the times alone.

    With h = lambda(t') - lambda(t) and r_i = (lambda_i - lambda(t)) / h for the predictions that
    take part, the weights solve sum_i r_i^(n-1) (w_i / cos t') r_i = phi_n for n = 1, 2, ...
    (equations 5 to 8), where phi_1 = e^-h ... are the moments of the exponential integral.
    """
    *past, t, t_next = times
    levels = [_level(time) for time in (*past[len(past) - order + 1 :], t, t_next)]
    h = levels[-1] - levels[-2]
    ratios = [(level - levels[-2]) / h for level in levels[:-2]] + ([1.0] if corrected else [])
    base = -math.expm1(-h)
    carry, centre = math.sin(t_next) / math.sin(t), math.cos(t_next) * base
    if not ratios:
        return _Step(carry, centre, ())
    weights = [math.cos(t_next) * w / r for w, r in zip(_solve(ratios, h), ratios, strict=True)]
    return _Step(carry, centre, tuple(weights))


def _solve(ratios: list[float], h: float) -> list[float]:
    # One unknown is 1/2 whatever h, as the paper's authors do: the order stays.
    base = -math.expm1(-h)
    if len(ratios) == 1:
        return [0.5 * base]
    rows, moments, phi, factorial = [], [], -base / -h - 1, 1.0
    for n in range(1, len(ratios) + 1):
        rows.append([ratio ** (n - 1) for ratio in ratios])
        moments.append(-phi * factorial)
        factorial *= n + 1
        phi = phi / -h - 1 / factorial
    return [float(w) for w in np.linalg.solve(np.array(rows), np.array(moments))]


def _level(t: float) -> float:
    # pi/2 itself rounds to either side: its level is -39, where e^level no longer counts.
    return math.log(max(math.cos(t), 1e-17) / math.sin(t))
