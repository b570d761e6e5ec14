"""Student, teacher and critic as denoisers that are compiled and run in mixed precision."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from rcm_distill.denoiser import Prediction, network_denoiser
from rcm_distill.nets.dit import DiT
from rcm_distill.tangent import Tangent, tangent
from rcm_distill.time import rf_from_trig, trig


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingDenoiser:
    """A velocity network in TrigFlow, fast in training.

    Plain calls run the compiled network under autocast. In mixed precision tangents run under fp16
    autocast, whose ten bits of mantissa are those of TF32: that of a bf16 network is wrong by more
    than its size near noise (rCM, Figure 11), on the laboratory's networks by up to 0.41; in fp16
    by 0.036 at most (reports/gallery/tangent_precision). They have no gradients to scale.
    """

    forward: Callable[..., Tensor]
    jvp: Callable[..., Tangent]
    head: Callable[..., Tensor]
    weight: Callable[..., Tensor]
    precision: Literal["bf16", "float32"]
    end_time: bool = False

    def __call__(
        self, x_t: Tensor, t_B: Tensor, cond: Any, *, s_B: Tensor | None = None
    ) -> Prediction:
        """Predict F and x0; shapes as in ``VelocityDenoiser``."""
        denoiser = network_denoiser(self.forward, end_time=self.end_time)
        with _autocast(x_t.device, self.precision):
            return denoiser(x_t, t_B, cond, s_B=s_B)

    def tangent(
        self,
        x_t: Tensor,
        t_B: Tensor,
        dx: Tensor,
        dt_B: Tensor,
        cond: Any,
        *,
        s_B: Tensor | None = None,
    ) -> Tangent:
        """Return F and its directional derivative (float32), without gradients."""
        with torch.no_grad(), _autocast(x_t.device, self.precision, torch.float16):
            return self.jvp(x_t, t_B, dx, dt_B, cond, s_B)

    def logits(self, x_t: Tensor, t_B: Tensor, cond: Any) -> Tensor:
        """Return the discriminator's logits (B,) of noisy samples (B, ...); positive for data."""
        cos_t, sin_t = trig(t_B, like=x_t)
        with _autocast(x_t.device, self.precision):
            return self.head(x_t / (cos_t + sin_t), rf_from_trig(t_B).to(x_t.dtype), cond)

    def log_weight(self, t_B: Tensor) -> Tensor:
        """Return the learned weight w (B,) of the loss at TrigFlow times (B,)."""
        return self.weight(rf_from_trig(t_B))


def training_denoiser(
    net: DiT,
    precision: Literal["bf16", "float32"],
    *,
    compiled: bool,
    end_time: bool = False,
    lowered: DiT | None = None,
) -> TrainingDenoiser:
    """Wrap a network for training; compile its two passes where that pays (on a GPU).

    Args:
        net: The network.
        precision: Of its passes.
        compiled: Whether to compile them.
        end_time: Whether it is told end times.
        lowered: Its copy for plain passes under autocast; the tangent is of ``net`` itself.
    """
    denoiser = network_denoiser(net, end_time=end_time)
    plain = net if lowered is None else lowered

    def jvp(
        x_t: Tensor, t_B: Tensor, dx: Tensor, dt_B: Tensor, cond: Any, s_B: Tensor | None
    ) -> Tangent:
        return tangent(denoiser, x_t, t_B, dx, dt_B, cond, s_B=s_B, method="exact")

    def fast(function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function, dynamic=False) if compiled else function

    return TrainingDenoiser(
        forward=fast(plain),
        jvp=fast(jvp),
        head=fast(plain.logits),
        weight=net.log_weight,
        precision=precision,
        end_time=end_time,
    )


def _autocast(
    device: torch.device,
    precision: Literal["bf16", "float32"],
    dtype: torch.dtype = torch.bfloat16,
) -> contextlib.AbstractContextManager[Any]:
    # Without autocast's cache of cast weights: a CUDA graph would keep what the cache then frees.
    return torch.autocast(device.type, dtype, enabled=precision == "bf16", cache_enabled=False)
