"""Which implementation runs a call, and why the fast one may not."""

import os
from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from rcm_kernels.configurations import GpuClass, gpu_class

Impl = Literal["auto", "reference", "triton"]

NOT_IN_A_TRACE = "torch.compile does not trace it (wrap the call in torch.compiler.disable)"
NOT_INSTALLED = "Triton is not installed"
SMALLEST_HEAD, LARGEST_HEAD = 16, 256
# Where bfloat16 inputs get float16 products, whose tangent errs by an eighth: where scaling the
# values costs at most 3.5 % (reports/gallery/kernels__products). At head size 64 it is 7 %, against
# 512 keys 13 %.
FLOAT16_PRODUCTS: frozenset[GpuClass] = frozenset({"hopper"})
_FEWEST_KEYS = 4096
_HEAD_SIZES = range(65, 129)


def unasked(query: Tensor) -> bool:
    """Tell whether ``auto`` may take the kernels: where a GPU has confirmed them, and they pay.

    On Hopper GPUs (reports/gallery/kernels__h200__2026-11-30), and of 16 bits: float32 is computed
    beyond its own precision there, which takes long.
    """
    return (
        query.is_cuda
        and query.dtype in (torch.float16, torch.bfloat16)
        and torch.cuda.get_device_capability(query.device) == (9, 0)
    )


def products(query: Tensor, key: Tensor, *, moving: bool) -> torch.dtype:
    """Return the dtype of weights and values in their products.

    Args:
        query: Queries (B, H, S, D).
        key: Keys (B, G, T, D).
        moving: Whether there are tangents.
    """
    if (
        moving
        and query.dtype == torch.bfloat16
        and key.shape[2] >= _FEWEST_KEYS
        and query.shape[3] in _HEAD_SIZES
        and gpu_class(query.device) in FLOAT16_PRODUCTS
    ):
        return torch.float16
    return query.dtype


def why_not_triton(
    query: Tensor, value: Tensor, *, scale: float, attn_mask: Tensor | None, surroundings: str
) -> str | None:
    """Return the reason why the Triton kernels cannot run a call, None if they can.

    Args:
        query: Queries (B, H, S, D).
        value: Values (B, H, T, E).
        scale: Factor of the scores.
        attn_mask: PyTorch's mask, which the kernels do not read.
        surroundings: What ``transforms.around`` says.
    """
    if query.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"the dtype must be float16, bfloat16 or float32, got {query.dtype}"
    for name, size in (("query", query.shape[3]), ("value", value.shape[3])):
        if not SMALLEST_HEAD <= size <= LARGEST_HEAD:
            return f"the head size of {name} must be {SMALLEST_HEAD} to {LARGEST_HEAD}, got {size}"
    if attn_mask is not None:
        return "it reads no attn_mask, only is_causal and key_lengths, got an attn_mask"
    if not scale > 0:
        return f"scale must be positive, got {scale}"
    if surroundings == "nested":
        return (
            "it serves one forward-mode level, innermost, got vmap, forward within forward "
            "or forward over reverse"
        )
    return _why_not_here(query.device)


def _why_not_here(device: torch.device) -> str | None:
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < (8, 0):
            return f"the GPU must be of compute capability 8.0 or later, got {capability}"
        return None if _has_triton() else NOT_INSTALLED
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return why_not_interpreted()
    return f"it needs CUDA tensors, or TRITON_INTERPRET=1 to interpret it on the CPU, got {device}"


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


@cache
def why_not_interpreted() -> str | None:
    """Say why the kernels cannot be interpreted here: before 3.7 Triton needs NumPy before 2.4."""
    if not _has_triton():
        return NOT_INSTALLED
    import numpy as np
    import triton

    if tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 7):
        return None
    try:
        int(np.ones(1))  # as it reads the bounds of a loop
    except TypeError:
        return (
            f"the interpreter of Triton {triton.__version__} needs NumPy before 2.4, got "
            f"{np.__version__}: pip install 'numpy<2.4'"
        )
    return None
