"""Networks as denoisers in TrigFlow, and classifier-free guidance.

A denoiser predicts F(x_t, t), ideally (for a teacher) dx_t/dt along the probability flow,
and x0 = cos t x_t - sin t F. Samples are (B, ...), times (B,) in [0, pi/2]; sigma_d = 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from rcm_distill.time import F_from_velocity, rf_from_trig, trig

GuidanceForm = Literal["u + s(c - u)", "c + s(c - u)"]
_FORMS = ("u + s(c - u)", "c + s(c - u)")


class Prediction(NamedTuple):
    """What a denoiser says of noisy samples, both (B, ...) and at least float32."""

    F: Tensor
    x0: Tensor


class Denoiser(Protocol):
    """Anything that predicts F and x0 in TrigFlow; ``s_B`` is for trajectory models only."""

    def __call__(
        self, x_t: Tensor, t_B: Tensor, cond: Any, *, s_B: Tensor | None = None
    ) -> Prediction:
        """Predict from samples (B, ...), times (B,) and a condition per sample."""
        ...


# Denoisers compare by identity (eq=False): tensors inside have no one answer to ==, and torch 2.11
# hashes an object that torch.compile sees being made before its fields are set.
@dataclass(frozen=True, slots=True, eq=False)
class VelocityDenoiser:
    """A rectified-flow velocity network ``net(x_rf, t_rf, cond) -> v`` as a TrigFlow denoiser.

    x_rf = x_t / (cos t + sin t), t_rf = sin t / (cos t + sin t), v = net(x_rf, t_rf, cond);
    F = (v + (cos t - sin t) x_t) / (cos t + sin t), x0 = (x_t - sin t v) / (cos t + sin t).
    All but the network is computed in promote_types(dtype, float32).

    Attributes:
        net: Velocity network; x_rf (B, ...), t_rf (B,) in [0, 1].
        timestep_dtype: ``"bfloat16"`` rounds 1000 t_rf to bfloat16 as NVlabs/rcm does at inference
            (988, 932, 852, 608 for its four steps). It has no use in training: neighbouring times
            become equal, so finite differences in time vanish.
    """

    net: Callable[[Tensor, Tensor, Any], Tensor]
    timestep_dtype: Literal["float32", "bfloat16"] = "float32"

    def __call__(
        self, x_t: Tensor, t_B: Tensor, cond: Any, *, s_B: Tensor | None = None
    ) -> Prediction:
        """Predict F and x0.

        Args:
            x_t: Noisy samples (B, ...).
            t_B: TrigFlow times (B,) in [0, pi/2].
            cond: Whatever the network takes.
            s_B: Must be None: a velocity network knows no end time.

        Raises:
            ValueError: ``s_B`` was given.
        """
        if s_B is not None:
            raise ValueError("a velocity network has no end time: s_B must be None")
        dtype = torch.promote_types(x_t.dtype, torch.float32)
        x_t, t_B = x_t.to(dtype), t_B.to(dtype)
        cos_t, sin_t = trig(t_B, like=x_t)
        t_rf = rf_from_trig(t_B)
        if self.timestep_dtype == "bfloat16":
            t_rf = (1000 * t_rf).to(torch.bfloat16).to(dtype) / 1000
        v = self.net(x_t / (cos_t + sin_t), t_rf, cond).to(dtype)
        return Prediction(F_from_velocity(v, x_t, t_B), (x_t - sin_t * v) / (cos_t + sin_t))


@dataclass(frozen=True, slots=True, eq=False)
class MeanVelocityDenoiser:
    """A network of average velocities ``net(x_rf, t_rf, cond, s_rf) -> u``, as MeanFlow trains it.

    u is the mean of the rectified-flow velocity along the flow from t to s, so that
    x_rf(s) = x_rf(t) - (t_rf - s_rf) u (Geng et al. 2025, 2505.13447, equation 3). F and x0 are
    made of u as ``VelocityDenoiser`` makes them of v: at s = t they are a teacher's, at s = 0 x0 is
    the consistency function, in between u = (cos t + sin t) F - (cos t - sin t) x_t takes x to s.

    Attributes:
        net: Network of average velocities; x_rf (B, ...), t_rf and s_rf (B,) in [0, 1].
    """

    net: Callable[[Tensor, Tensor, Any, Tensor], Tensor]

    def __call__(
        self, x_t: Tensor, t_B: Tensor, cond: Any, *, s_B: Tensor | None = None
    ) -> Prediction:
        """Predict F and x0 from samples (B, ...), times (B,) and end times (B,); None ends at 0."""
        end_B = torch.zeros_like(t_B) if s_B is None else s_B

        def to_the_end(x_rf: Tensor, t_rf: Tensor, cond: Any) -> Tensor:
            return self.net(x_rf, t_rf, cond, rf_from_trig(end_B.to(t_rf.dtype)))

        return VelocityDenoiser(to_the_end)(x_t, t_B, cond)


def network_denoiser(net: Callable[..., Tensor], *, end_time: bool) -> Denoiser:
    """Wrap a network of velocities, or of average velocities where it is told end times."""
    return MeanVelocityDenoiser(net) if end_time else VelocityDenoiser(net)


@dataclass(frozen=True, slots=True, eq=False)
class _Guided:
    denoiser: Denoiser
    weight: float
    uncond: Any

    def __call__(
        self, x_t: Tensor, t_B: Tensor, cond: Any, *, s_B: Tensor | None = None
    ) -> Prediction:
        both = self.denoiser(
            torch.cat([x_t, x_t]),
            torch.cat([t_B, t_B]),
            map_conditions(lambda c, u: torch.cat([c, u]), cond, self.uncond),
            s_B=None if s_B is None else torch.cat([s_B, s_B]),
        )
        guided = [u + self.weight * (c - u) for c, u in (part.chunk(2) for part in both)]
        return Prediction(*guided)


def guided(
    denoiser: Denoiser, scale: float, uncond: Any, form: GuidanceForm = "u + s(c - u)"
) -> Denoiser:
    """Apply classifier-free guidance (Ho and Salimans 2022) to a denoiser.

    Conditional and unconditional predictions come from one batch of 2B. F and x0 are affine in the
    network's output, so guiding them is guiding the network.

    Args:
        denoiser: Denoiser to guide.
        scale: Guidance scale s.
        uncond: The condition that stands for "none", with the structure and batch of ``cond``.
        form: ``"u + s(c - u)"`` (rCM at 5b41aa9, FastGen, FastVideo, diffusers), where s = 1 is the
            plain conditional prediction; ``"c + s(c - u)"`` (Self-Forcing, rCM at 20207e5), where
            it is s = 0. The second with s equals the first with s + 1.

    Returns:
        The guided denoiser; ``denoiser`` itself where guidance changes nothing.

    Raises:
        ValueError: The form is unknown.
    """
    if form not in _FORMS:
        raise ValueError(f"unknown guidance form '{form}'. Available: {', '.join(_FORMS)}.")
    weight = scale if form == "u + s(c - u)" else scale + 1
    return denoiser if weight == 1 else _Guided(denoiser, weight, uncond)


def map_conditions(combine: Callable[..., Tensor], *conditions: Any) -> Any:
    """Combine conditions of one structure (tensors in tuples, lists, mappings) leaf by leaf.

    Raises:
        ValueError: The structures differ, or a leaf is neither a tensor nor None.
    """
    first = conditions[0]
    if any(type(other) is not type(first) for other in conditions):
        kinds = ", ".join(type(part).__name__ for part in conditions)
        raise ValueError(f"conditions must share one structure, got {kinds}")
    if first is None:
        return None
    if isinstance(first, Tensor):
        return combine(*conditions)
    if isinstance(first, dict):
        return {k: map_conditions(combine, *(part[k] for part in conditions)) for k in first}
    if isinstance(first, tuple | list):
        parts = [map_conditions(combine, *leaves) for leaves in zip(*conditions, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    raise ValueError(f"a condition holds tensors, got {type(first).__name__}")
