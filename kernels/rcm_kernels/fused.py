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
    output, tangent = _run((q, k, v), (tq, tk, tv), key_lengths, scale, is_causal)
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
    output, tangent = _run(primals, tangents, key_lengths, scale, is_causal)
    return AttentionResult(output, torch.zeros_like(output) if tangent is None else tangent)


def _run(
    primals: Triple,
    tangents: Tangents,
    key_lengths: Tensor | None,
    scale: float,
    is_causal: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return output and tangent, by an autograd function only where one is needed."""
    tensors = (*primals, *tangents)
    asked = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    if asked or transforms.has_interpreter():
        output, tangent, *_ = TritonFunction.apply(*tensors, key_lengths, scale, is_causal)
        return output, tangent
    from rcm_kernels import launch

    result = launch.forward(
        primals, tangents, scale=scale, is_causal=is_causal, key_lengths=key_lengths
    )
    return result.output, result.tangent
