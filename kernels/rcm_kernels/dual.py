"""One call that serves plain tensors, dual tensors and explicit tangents."""

import torch
from torch import Tensor

from rcm_kernels import transforms
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
    (q, tq), (k, tk), (v, tv) = (transforms.unpack(x) for x in primals)
    output, tangent = ReferenceFunction.apply(q, k, v, tq, tk, tv, *masking, scale)
    return transforms.pack(output, tangent)


def reference_with_tangent(
    primals: Triple, tangents: Tangents, masking: Masking, scale: float, *, plain: bool
) -> AttentionResult:
    """Run the reference on explicit tangents; arguments as in ``reference``."""
    if plain or _is_differentiated(masking.bias):
        return attention_with_tangent_reference(primals, tangents, masking, scale)
    output, tangent = ReferenceFunction.apply(*primals, *tangents, *masking, scale)
    return AttentionResult(output, torch.zeros_like(output) if tangent is None else tangent)


def _is_differentiated(bias: Tensor | None) -> bool:
    if bias is None:
        return False
    if bias.requires_grad and torch.is_grad_enabled():
        return True
    return transforms.unpack(bias)[1] is not None
