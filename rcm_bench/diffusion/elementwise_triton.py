"""Sum, RMS norm and SiLU as one Triton kernel: each row is read and written once."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS = 8
_EPS = tl.constexpr(1e-12)


@triton.jit
def _kernel(
    x_ptr,
    bias_ptr,
    residual_ptr,
    gain_ptr,
    out_ptr,
    rows,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    ACTIVATE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (column < C)
    at = row * C + column
    total = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(bias_ptr + column, mask=column < C, other=0.0)
    if RESIDUAL:
        total += tl.load(residual_ptr + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(x_ptr + at, total.to(x_ptr.dtype.element_ty), mask=inside)
    norm = tl.maximum(tl.sqrt(tl.sum(total * total, axis=1)), _EPS)[:, None]
    y = total / norm * tl.load(gain_ptr + column, mask=column < C, other=0.0)
    if ACTIVATE:
        y = y * tl.sigmoid(y)
    tl.store(out_ptr + at, y.to(out_ptr.dtype.element_ty), mask=inside)


def add_norm_silu(
    x_RC: Tensor,
    bias_C: Tensor,
    residual_RC: Tensor | None,
    gain_C: Tensor,
    out_RC: Tensor,
    activate: bool,
) -> None:
    """Write the sum over ``x_RC`` and its normed, activated rows into ``out_RC``.

    Args:
        x_RC: (R, C) in float32, bfloat16 or float16, contiguous like all others.
        bias_C: (C,) in float32.
        residual_RC: (R, C) or None.
        gain_C: (C,) in float32.
        out_RC: (R, C).
        activate: False leaves out the activation.

    Raises:
        ValueError: Not float32 bias and gain, or no CUDA device.
    """
    interpreted = not isinstance(_kernel, triton.runtime.JITFunction)
    if not (x_RC.is_cuda or interpreted):
        raise ValueError(f"Triton needs a CUDA device, got tensors on '{x_RC.device}'")
    if bias_C.dtype != torch.float32 or gain_C.dtype != torch.float32:
        raise ValueError(f"expected float32 bias and gain, got {bias_C.dtype}, {gain_C.dtype}")
    rows, channels = x_RC.shape
    _kernel[(triton.cdiv(rows, _ROWS),)](
        x_RC,
        bias_C,
        x_RC if residual_RC is None else residual_RC,
        gain_C,
        out_RC,
        rows,
        C=channels,
        BLOCK=triton.next_power_of_2(channels),
        ROWS=_ROWS,
        RESIDUAL=residual_RC is not None,
        ACTIVATE=activate,
        num_warps=4,
    )
