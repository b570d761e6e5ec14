"""One call that serves plain tensors, dual tensors and explicit tangents."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rcm_kernels.functions import ReferenceFunction
from rcm_kernels.masking import Masking
from rcm_kernels.reference import (
    AttentionResult,
    Tangents,
    Triple,
    attention_reference,
    attention_with_tangent_reference,
)


def reference(primals: Triple, masking: Masking, scale: float, *, plain: bool) -> Tensor:
    """Run the reference on tensors that may be dual.

    Args:
        primals: Queries, keys and values, perhaps dual.
        masking: What is hidden.
        scale: Factor of the scores.
        plain: Leave differentiation to PyTorch, operation by operation: for what the function of
            explicit tangents cannot serve, such as vmap. Same values, more memory.
    """
    if plain or _is_differentiated(masking.bias):
        return attention_reference(primals, masking, scale)
    unpacked, tangents = _unpack(primals)
    output, tangent = ReferenceFunction.apply(*unpacked, *tangents, *masking, scale)
    return _pack(output, tangent)


def reference_with_tangent(
    primals: Triple, tangents: Tangents, masking: Masking, scale: float, *, plain: bool
) -> AttentionResult:
    """Run the reference on explicit tangents; arguments as in ``reference``."""
    if plain or _is_differentiated(masking.bias):
        return attention_with_tangent_reference(primals, tangents, masking, scale)
    output, tangent = ReferenceFunction.apply(*primals, *tangents, *masking, scale)
    return AttentionResult(output, torch.zeros_like(output) if tangent is None else tangent)


def _unpack(primals: Triple) -> tuple[Triple, Tangents]:
    if forward_ad._current_level < 0:
        return primals, (None, None, None)
    pairs = [forward_ad.unpack_dual(x) for x in primals]
    (q, tq), (k, tk), (v, tv) = pairs
    return (q, k, v), (tq, tk, tv)


def _pack(output: Tensor, tangent: Tensor | None) -> Tensor:
    return output if tangent is None else forward_ad.make_dual(output, tangent)


def _is_differentiated(bias: Tensor | None) -> bool:
    if bias is None:
        return False
    if bias.requires_grad and torch.is_grad_enabled():
        return True
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(bias).tangent is not None
