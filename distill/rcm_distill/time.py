"""One algebra of time: TrigFlow inside, rectified flow and EDM at the border.

TrigFlow (Lu and Song 2024): x_t = cos t x0 + sin t eps, t in [0, pi/2], sigma_d = 1.
Rectified flow: x_rf = (1 - t_rf) x0 + t_rf eps, t_rf in [0, 1].
EDM: x_edm = x0 + sigma eps, sigma in [0, inf).

The three are one path at different scales: sigma = tan t, t_rf = sin t / (cos t + sin t),
x_rf = x_t / (cos t + sin t), x_edm = x_t / cos t. No formula here divides by sin t.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Trig(NamedTuple):
    """cos t and sin t, shaped to multiply a tensor of samples."""

    cos: Tensor
    sin: Tensor


def trig(t_B: Tensor, like: Tensor) -> Trig:
    """Return cos t and sin t with the dtype and the number of axes of the samples.

    Args:
        t_B: TrigFlow times (B,) in radians.
        like: Samples (B, ...); at least float32 is used.

    Raises:
        ValueError: ``t_B`` is not one time per sample.
    """
    if t_B.shape != like.shape[:1]:
        raise ValueError(f"t must have shape {tuple(like.shape[:1])}, got {tuple(t_B.shape)}")
    t = t_B.to(torch.promote_types(like.dtype, torch.float32))
    t = t.reshape(-1, *[1] * (like.ndim - 1))
    return Trig(t.cos(), t.sin())


def trig_from_rf(t_rf: Tensor) -> Tensor:
    """Turn rectified-flow times in [0, 1] into TrigFlow times: t = atan2(t_rf, 1 - t_rf)."""
    return torch.atan2(t_rf, 1 - t_rf)


def rf_from_trig(t: Tensor) -> Tensor:
    """Turn TrigFlow times into rectified-flow times: t_rf = sin t / (cos t + sin t)."""
    return t.sin() / (t.cos() + t.sin())


def trig_from_edm(sigma: Tensor) -> Tensor:
    """Turn EDM noise levels into TrigFlow times: t = atan sigma."""
    return torch.atan(sigma)


def edm_from_trig(t: Tensor) -> Tensor:
    """Turn TrigFlow times below pi/2 into EDM noise levels: sigma = tan t."""
    return torch.tan(t)


def rf_velocity(F: Tensor, x_t: Tensor, t_B: Tensor) -> Tensor:
    """Turn F = dx_t/dt into a velocity v = (cos t + sin t) F - (cos t - sin t) x_t."""
    cos_t, sin_t = trig(t_B, like=x_t)
    return (cos_t + sin_t) * F - (cos_t - sin_t) * x_t


def F_from_velocity(v: Tensor, x_t: Tensor, t_B: Tensor) -> Tensor:
    """Turn a rectified-flow velocity into F = (v + (cos t - sin t) x_t) / (cos t + sin t)."""
    cos_t, sin_t = trig(t_B, like=x_t)
    return (v + (cos_t - sin_t) * x_t) / (cos_t + sin_t)
