"""Who is timed against whom: this attention, PyTorch's own kernels, published kernels.

Peers are taken as they are: installed, or from a file that the user names. What cannot run a case
raises UnavailableError with the reason; nothing stands in for it.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from rcm_kernels.api import attention, attention_with_tangent
from rcm_kernels.bench import BenchCase, BenchInputs, Contender, Run, UnavailableError
from rcm_kernels.choice import Impl
from rcm_kernels.transforms import pack

OURS = "rcm_kernels"


def contenders(device: str, rcm: Path | None) -> dict[str, Contender]:
    """Return the implementations that are timed.

    Args:
        device: On a CPU the reference and PyTorch only: the interpreter's time says nothing.
        rcm: Path of rCM's ``flash_attention_jvp_triton.py``, if it is to be timed.
    """
    if device == "cpu":
        found = {f"{OURS} reference": ours("reference"), "torch SDPA": sdpa(None)}
    else:
        found = {
            f"{OURS} triton": ours("triton"),
            "cuDNN": sdpa(SDPBackend.CUDNN_ATTENTION),
            "FlashAttention-2": sdpa(SDPBackend.FLASH_ATTENTION),
            "jvp-flash-attention": jvp_flash_attention,
            "matmul": matmul,
        }
    found["torch.func.jvp of math"] = math_jvp
    if rcm is not None:
        found["rCM"] = rcm_kernel(rcm)
    return found


def ours(impl: Impl) -> Contender:
    """Time this package."""

    def build(case: BenchCase, inputs: BenchInputs) -> Run:
        if case.mode == "forward":
            return _quietly(lambda: attention(*inputs.primals, impl=impl))
        if case.mode == "forward+tangent":
            both = (*inputs.primals, *inputs.tangents)
            return _quietly(lambda: attention_with_tangent(*both, impl=impl))
        if case.mode == "backward":
            return _gradients(lambda *x: [attention(*x, impl=impl)], inputs.primals, inputs)
        both = (*inputs.primals, *inputs.tangents)
        return _gradients(lambda *x: attention_with_tangent(*x, impl=impl), both, inputs)

    return build


def sdpa(backend: SDPBackend | None) -> Contender:
    """Time PyTorch's scaled_dot_product_attention with one of its kernels; it has no tangent."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if backend is None:
            return functional.scaled_dot_product_attention(q, k, v)
        with sdpa_kernel(backend):
            return functional.scaled_dot_product_attention(q, k, v)

    def build(case: BenchCase, inputs: BenchInputs) -> Run:
        if case.mode.endswith("tangent"):
            raise UnavailableError("it has no tangent")
        if case.mode == "forward":
            return _quietly(lambda: attend(*inputs.primals))
        return _gradients(lambda *x: [attend(*x)], inputs.primals, inputs)

    return build


def matmul(case: BenchCase, inputs: BenchInputs) -> Run:
    """Time one large matrix product of as many operations: what the tensor cores give at all."""
    _forward_only(case)
    size = 8192
    device = inputs.primals[0].device
    left = torch.randn(case.flops // (2 * size**2), size, device=device, dtype=case.dtype)
    right = torch.randn(size, size, device=device, dtype=case.dtype)
    return _quietly(lambda: left @ right)


def math_jvp(case: BenchCase, inputs: BenchInputs) -> Run:
    """Time torch.func.jvp over PyTorch's attention from plain operations."""
    if case.mode != "forward+tangent":
        raise UnavailableError("it is timed for output and tangent only")

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v)

    def run() -> object:
        with sdpa_kernel(SDPBackend.MATH):
            return torch.func.jvp(attend, inputs.primals, inputs.tangents)

    return _quietly(run)


def jvp_flash_attention(case: BenchCase, inputs: BenchInputs) -> Run:
    """Time the package jvp-flash-attention (PyPI), if it is installed."""
    _forward_only(case)
    if case.S != case.T:
        raise UnavailableError("it has no cross-attention")
    try:
        module = importlib.import_module("jvp_flash_attention.jvp_attention")
    except ImportError as fault:
        raise UnavailableError(f"it cannot be imported: {fault}") from None

    def run() -> object:
        with forward_ad.dual_level():
            duals = map(pack, inputs.primals, inputs.tangents)
            return module.JVPAttn.fwd_dual(*duals)

    return _quietly(run)


def rcm_kernel(path: Path) -> Contender:
    """Time rCM's kernel, from the file of its repository that the user names."""

    def build(case: BenchCase, inputs: BenchInputs) -> Run:
        _forward_only(case)
        module = _module(path)
        # Its inputs must have equal strides; it takes them contiguous.
        both = [x.contiguous() for x in (*inputs.primals, *inputs.tangents)]
        return _quietly(lambda: module._attention.apply(*both))

    return build


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("rcm_peer", path)
    if spec is None or spec.loader is None:
        raise UnavailableError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as fault:
        raise UnavailableError(f"it cannot be imported: {fault}") from None
    return module


def _forward_only(case: BenchCase) -> None:
    if case.mode != "forward+tangent":
        raise UnavailableError("it is timed for output and tangent only")


def _quietly(run: Run) -> Run:
    def without_gradients() -> object:
        with torch.no_grad():
            return run()

    return without_gradients


def _gradients(
    function: Callable[..., Sequence[Tensor]], tensors: tuple[Tensor, ...], inputs: BenchInputs
) -> Run:
    """Time the backward pass alone."""
    leaves = [x.detach().requires_grad_() for x in tensors]
    outputs = list(function(*leaves))
    weights = list(inputs.cotangents[: len(outputs)])
    return lambda: torch.autograd.grad(outputs, leaves, weights, retain_graph=True)
