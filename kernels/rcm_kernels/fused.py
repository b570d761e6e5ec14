"""The fused kernels on tensors that may be dual; outside every trace, where tangents get lost.

Imported when first needed: the decorator brings in PyTorch's compiler.
"""

import torch
from torch import Tensor

from rcm_kernels import transforms
from rcm_kernels.functions import TritonFunction
from rcm_kernels.reference import AttentionResult, Tangents, Triple


@torch.compiler.disable  # type: ignore[untyped-decorator]
def attend(primals: Triple, key_lengths: Tensor | None, scale: float, *, is_causal: bool) -> Tensor:
    """Run the fused kernels on tensors that may be dual."""
    (q, tq), (k, tk), (v, tv) = (transforms.unpack(x) for x in primals)
    output, tangent, *_ = TritonFunction.apply(q, k, v, tq, tk, tv, key_lengths, scale, is_causal)
    return transforms.pack(output, tangent)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def attend_with_tangent(
    primals: Triple,
    tangents: Tangents,
    key_lengths: Tensor | None,
    scale: float,
    *,
    is_causal: bool,
) -> AttentionResult:
    """Run the fused kernels on explicit tangents."""
    output, tangent, *_ = TritonFunction.apply(*primals, *tangents, key_lengths, scale, is_causal)
    return AttentionResult(output, torch.zeros_like(output) if tangent is None else tangent)
