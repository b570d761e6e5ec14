"""Is a network's tangent to be trusted in low precision? Its error per layer, and two known traps.

The tangent is the one that consistency training takes: cos t sin t dF/dt along the flow (rCM,
2510.08431v3, Figure 11). Its layers' tangents are read by hooks and held to those of float64.
"""

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from rcm_distill.denoiser import VelocityDenoiser
from rcm_distill.tangent import Method, tangent
from rcm_distill.time import trig

Mode = Literal["fp32", "fp16 autocast", "bf16 autocast", "bf16 weights"]
MODES: tuple[Mode, ...] = ("fp32", "fp16 autocast", "bf16 autocast", "bf16 weights")
LIMIT = 0.1
"""Relative error of a tangent from which on a trap is reported."""


class LayerError(NamedTuple):
    """Relative L2 errors of a layer's output and of its tangent against float64."""

    layer: str
    mode: Mode
    output: float
    tangent: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TangentReport:
    """What ``check_tangent`` found.

    Attributes:
        whole: Errors of F and of cos t sin t dF/dt.
        layers: Errors of every submodule that a tangent went through, in the order of the pass.
        traps: What makes this network's tangents wrong, a sentence each; empty where nothing does.
    """

    whole: LayerError
    layers: tuple[LayerError, ...]
    traps: tuple[str, ...]


class _Traced(NamedTuple):
    F: Tensor
    dF: Tensor
    layers: dict[str, tuple[Tensor, Tensor]]


def check_tangent(
    net: nn.Module, x_t: Tensor, t_B: Tensor, cond: Any, *, mode: Mode = "bf16 autocast"
) -> TangentReport:
    """Hold a velocity network's tangent in one mode to that in float64, on a copy of the network.

    Args:
        net: Velocity network ``net(x_rf, t_rf, cond)`` in float32.
        x_t: Noisy samples (B, ...) in TrigFlow.
        t_B: Their times (B,).
        cond: Condition per sample.
        mode: ``"bf16 autocast"`` and ``"fp16 autocast"`` keep weights, time embedding and residuals
            of a network that asks for it in float32; ``"bf16 weights"`` rounds all of it.

    Returns:
        Errors per layer, and the traps: times that are rounded until neighbours are equal, and
        finite differences that rounding drowns.
    """
    exact = _trace(copy.deepcopy(net).double(), x_t.double(), t_B.double(), cond, "fp32", None)
    lowered = copy.deepcopy(net).bfloat16() if mode == "bf16 weights" else net
    # The flow's direction is the same in both, so that only the tangent is compared.
    got = _trace(lowered, x_t, t_B, cond, mode, exact.F)
    layers = tuple(
        LayerError(name, mode, *(_error(a, b) for a, b in zip(got.layers[name], pair, strict=True)))
        for name, pair in exact.layers.items()
        if name in got.layers
    )
    whole = LayerError("", mode, _error(got.F, exact.F), _error(got.dF, exact.dF))
    traps = [*_rounded_time(lowered, x_t, t_B, cond, mode)]
    traps += _drowned_differences(lowered, x_t, t_B, cond, mode, exact)
    return TangentReport(whole=whole, layers=layers, traps=tuple(traps))


def in_mode(net: nn.Module, mode: Mode) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """Return the network as it runs in a mode; weights of ``"bf16 weights"`` are bf16 already."""
    low = torch.float16 if mode == "fp16 autocast" else torch.bfloat16

    def run(x_rf: Tensor, t_rf: Tensor, cond: Any) -> Tensor:
        on = mode in ("fp16 autocast", "bf16 autocast")
        if mode == "bf16 weights":
            x_rf, t_rf = x_rf.to(low), t_rf.to(low)
        with torch.autocast(x_rf.device.type, low, enabled=on, cache_enabled=False):
            out: Tensor = net(x_rf, t_rf, cond)
            return out.to(torch.promote_types(out.dtype, torch.float32))

    return run


def direction(F: Tensor, x_t: Tensor, t_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rearranged direction (cos t sin t F, cos t sin t), like samples and times."""
    cos_t, sin_t = trig(t_B, like=F)
    return (cos_t * sin_t * F).to(x_t.dtype), t_B.cos() * t_B.sin()


@torch.no_grad()
def _trace(
    net: nn.Module, x_t: Tensor, t_B: Tensor, cond: Any, mode: Mode, flow: Tensor | None
) -> _Traced:
    denoiser = VelocityDenoiser(in_mode(net, mode))
    along = denoiser(x_t, t_B, cond).F if flow is None else flow
    dx, dt_B = direction(along, x_t, t_B)
    layers: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and name not in layers:
                value, change = forward_ad.unpack_dual(output)  # type: ignore[no-untyped-call]
                if change is not None:
                    layers[name] = (value.detach().clone(), change.detach().clone())

        return hook

    with contextlib.ExitStack() as stack:
        for name, module in net.named_modules():
            if name:
                stack.callback(module.register_forward_hook(keep(name)).remove)
        stack.enter_context(forward_ad.dual_level())
        x = forward_ad.make_dual(x_t, dx)  # type: ignore[no-untyped-call]
        t = forward_ad.make_dual(t_B, dt_B)  # type: ignore[no-untyped-call]
        F, dF = forward_ad.unpack_dual(denoiser(x, t, cond).F)  # type: ignore[no-untyped-call]
        assert dF is not None
        return _Traced(F.detach().clone(), dF.detach().clone(), layers)


def _error(got: Tensor, exact: Tensor) -> float:
    """Return ||got - exact|| / ||exact||; 0 where both are 0."""
    size = exact.double().norm().item()
    apart = (got.double() - exact.double()).norm().item()
    return apart / size if size else float(apart > 0)


@torch.no_grad()
def _rounded_time(net: nn.Module, x_t: Tensor, t_B: Tensor, cond: Any, mode: Mode) -> list[str]:
    """Report a network to which times 2^-11 apart, an eighth of bf16's spacing, are equal."""
    run = in_mode(net, mode)
    # At half of the highest time bf16 has a place of its own: just above it no rounding is crossed.
    t_rf = torch.full_like(t_B, 0.5 * (1 + 2**-10))
    if not torch.equal(run(x_t, t_rf, cond), run(x_t, t_rf * (1 + 2**-11), cond)):
        return []
    return [
        "rounded time: the network does not tell times apart that differ by 2^-11 of their value, "
        "so that differences in time vanish; keep time and its embedding in float32"
    ]


@torch.no_grad()
def _drowned_differences(
    net: nn.Module, x_t: Tensor, t_B: Tensor, cond: Any, mode: Mode, exact: _Traced
) -> list[str]:
    traps = []
    dx, dt_B = direction(exact.F, x_t, t_B)
    methods: tuple[Method, ...] = ("finite_difference", "semi_continuous")
    for method in methods:
        denoiser = VelocityDenoiser(in_mode(net, mode))
        found = tangent(denoiser, x_t, t_B, dx, dt_B, cond, method=method)
        if (error := _error(found.dF, exact.dF)) > LIMIT:
            traps.append(
                f"drowned difference: method '{method}' has a relative error of {error:.2g} in "
                f"{mode}, of rounding divided by its step; take 'exact', or differences in float32"
            )
    return traps
