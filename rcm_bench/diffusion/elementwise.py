"""What stands between two convolutions of the decoder in one go: sum, norm and activation.

    s = x + bias + residual,   y = silu(gain s / |s|)

with the norm over channels, in at least float32; ``gain`` holds the sqrt(C) of an RMS norm.
Shape legend: T frames, H and W height and width, C channels (last, so that a row is contiguous).
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Implementation = Literal["eager", "compiled", "triton"]
EPS = 1e-12  # as in torch.nn.functional.normalize
_RECOMPILES = 64  # three widths, with and without residual and activation, on one code object


class Sum(NamedTuple):
    """A sum that nobody has added up yet: a convolution's output, its bias, what goes around it.

    Attributes:
        x: (T, H, W, C); may be overwritten.
        bias: (C,), in at least float32.
        residual: (T, H, W, C) or None; is read only.
    """

    x: Tensor
    bias: Tensor
    residual: Tensor | None = None


def add(terms: Sum, out: Tensor | None = None) -> Tensor:
    """Add up a sum, in place of its first term or into ``out``."""
    total = torch.add(terms.x, terms.bias, out=terms.x if out is None else out)
    return total if terms.residual is None else total.add_(terms.residual)


def norm_silu(
    how: Implementation, terms: Sum, gain_C: Tensor, out: Tensor, *, activate: bool = True
) -> Tensor:
    """Write the normed, activated sum into ``out`` and return the sum itself.

    Args:
        how: Plain operations, the same compiled, or one Triton kernel.
        terms: The sum.
        gain_C: (C,), in at least float32.
        out: (T, H, W, C), contiguous.
        activate: False leaves out the activation.

    Raises:
        ValueError: A tensor is not contiguous, or Triton was asked for without a GPU.
    """
    tensors = (terms.x, out) if terms.residual is None else (terms.x, out, terms.residual)
    if not all(t.is_contiguous() and t.shape == out.shape for t in tensors):
        raise ValueError(f"expected contiguous tensors of shape {tuple(out.shape)}")
    x_RC, out_RC = (t.view(-1, len(gain_C)) for t in tensors[:2])
    residual_RC = None if terms.residual is None else terms.residual.view_as(x_RC)
    return _RUN[how](x_RC, terms.bias, residual_RC, gain_C, out_RC, activate).view_as(out)


def _plain(
    x_RC: Tensor,
    bias_C: Tensor,
    residual_RC: Tensor | None,
    gain_C: Tensor,
    out_RC: Tensor,
    activate: bool,
) -> Tensor:
    # Not in place: Inductor of torch 2.14 fails on a CPU where the input is written too.
    total = x_RC + bias_C
    total = total if residual_RC is None else total + residual_RC
    norm = torch.linalg.vector_norm(total, dim=-1, keepdim=True, dtype=gain_C.dtype)
    y = total * (gain_C / norm.clamp_min(EPS))
    out_RC.copy_(functional.silu(y) if activate else y)
    return total.to(x_RC.dtype)


def _compiled(
    x_RC: Tensor,
    bias_C: Tensor,
    residual_RC: Tensor | None,
    gain_C: Tensor,
    out_RC: Tensor,
    activate: bool,
) -> Tensor:
    for tensor in (x_RC, residual_RC, out_RC):
        if tensor is not None:  # one kernel for every number of rows, one for each width
            torch._dynamo.mark_dynamic(tensor, 0)
            torch._dynamo.mark_static(tensor, 1)
    with torch._dynamo.config.patch(recompile_limit=_RECOMPILES):
        total: Tensor = _compiler()(x_RC, bias_C, residual_RC, gain_C, out_RC, activate)
    return total


@cache
def _compiler() -> Callable[..., Any]:
    # fullgraph: what cannot be compiled is an error, never slow in silence
    return torch.compile(_plain, fullgraph=True)


def _triton(x_RC: Tensor, *others: Any) -> Tensor:
    from rcm_bench.diffusion.elementwise_triton import add_norm_silu

    add_norm_silu(x_RC, *others)
    return x_RC


_RUN: dict[Implementation, Callable[..., Tensor]] = {
    "eager": _plain,
    "compiled": _compiled,
    "triton": _triton,
}
