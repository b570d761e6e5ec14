"""Directional derivatives of a denoiser, by one signature and several methods."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from rcm_distill.denoiser import Denoiser

Method = Literal["exact", "finite_difference", "semi_continuous"]
_STEPS = {"finite_difference": 1e-3, "semi_continuous": 1e-4}


class Tangent(NamedTuple):
    """F(x_t, t) and its directional derivative dF, both (B, ...)."""

    F: Tensor
    dF: Tensor


def tangent(
    denoiser: Denoiser,
    x_t: Tensor,
    t_B: Tensor,
    dx: Tensor,
    dt_B: Tensor,
    cond: Any,
    *,
    s_B: Tensor | None = None,
    method: Method = "exact",
    step: float | None = None,
) -> Tangent:
    """Differentiate F along the direction (dx, dt): dF = dF/dx dx + dF/dt dt.

    ``"exact"`` is forward-mode differentiation; traces in one piece under ``torch.compile``.
    ``"finite_difference"`` is (F(x + h dx, t + h dt) - F(x - h dx, t - h dt)) / 2h, error O(h^2).
    ``"semi_continuous"`` is exact in x and a backward difference in t, error O(h), as the rCM paper
    (2510.08431v3, section 4) does for text-to-image models up to 2B.
    In reduced precision a difference loses digits in proportion to 1 / h.

    Args:
        denoiser: Denoiser. ``"exact"`` asks one that has a ``tangent(x_t, t_B, dx, dt_B, cond)`` of
            its own (compiled, or in another precision) for it.
        x_t: Noisy samples (B, ...).
        t_B: TrigFlow times (B,).
        dx: Direction in x (B, ...).
        dt_B: Direction in t (B,).
        cond: Condition per sample, held constant.
        s_B: End times (B,) of a trajectory model, held constant; None for others.
        method: How the derivative is taken.
        step: h of the differences; 1e-3 central, 1e-4 semi-continuous if not given.

    Raises:
        ValueError: The method is unknown, or a step was given to the exact one.
    """
    if method == "exact":
        if step is not None:
            raise ValueError(f"method 'exact' takes no step, got {step}")
        own = getattr(denoiser, "tangent", None)
        if own is not None:
            ends = {} if s_B is None else {"s_B": s_B}
            return Tangent(*own(x_t, t_B, dx, dt_B, cond, **ends))
        return _exact(denoiser, x_t, t_B, dx, dt_B, cond, s_B)
    if method not in _STEPS:
        raise ValueError(
            f"unknown tangent method '{method}'. Available: exact, {', '.join(_STEPS)}."
        )
    h = _STEPS[method] if step is None else step
    if method == "semi_continuous":
        F, in_x = _exact(denoiser, x_t, t_B, dx, torch.zeros_like(dt_B), cond, s_B)
        in_t = (F - denoiser(x_t, t_B - h, cond, s_B=s_B).F) / h
        return Tangent(F, in_x + dt_B.reshape(-1, *[1] * (F.ndim - 1)) * in_t)
    forward = denoiser(x_t + h * dx, t_B + h * dt_B, cond, s_B=s_B).F
    backward = denoiser(x_t - h * dx, t_B - h * dt_B, cond, s_B=s_B).F
    return Tangent(denoiser(x_t, t_B, cond, s_B=s_B).F, (forward - backward) / (2 * h))


def _exact(
    denoiser: Denoiser,
    x_t: Tensor,
    t_B: Tensor,
    dx: Tensor,
    dt_B: Tensor,
    cond: Any,
    s_B: Tensor | None = None,
) -> Tangent:
    def F_of(x: Tensor, t: Tensor) -> Tensor:
        return denoiser(x, t, cond, s_B=s_B).F

    both: tuple[Tensor, Tensor] = torch.func.jvp(F_of, (x_t, t_B), (dx, dt_B))  # type: ignore[assignment]
    return Tangent(*both)
