"""The public face: checks, and the choice of an implementation.

Shape legend: B batch, H heads, S queries, T keys, D head size, E value size.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional

from rcm_kernels.reference import (
    AttentionResult,
    attention_reference,
    attention_with_tangent_reference,
)

Impl = Literal["auto", "reference"]
_IMPLS = ("auto", "reference")


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    impl: Impl = "auto",
) -> Tensor:
    """Compute O = softmax(scale Q K^T) V; carries tangents in forward-mode differentiation.

    Works in plain calls, under ``torch.func.jvp``, under ``forward_ad.dual_level``, with gradients,
    and inside ``torch.compile`` (a compiled function may call ``torch.func.jvp``; applying
    ``torch.func.jvp`` to a compiled function is not something PyTorch supports with inductor).

    Args:
        query: Queries (B, H, S, D), any float dtype.
        key: Keys (B, H, T, D).
        value: Values (B, H, T, E).
        scale: Factor of the scores; 1 / sqrt(D) if not given.
        is_causal: Query i sees the keys 0..i (aligned at the first key, as in PyTorch).
        impl: ``"reference"`` writes the softmax out in promote_types(dtype, float32) with autocast
            off, and has derivatives of every order. ``"auto"`` takes PyTorch's
            scaled_dot_product_attention (which follows autocast, and on CUDA has first gradients
            only) while no forward-mode level or functorch transform is active, else the reference.

    Returns:
        The output (B, H, S, E). Its dtype is the query's, or autocast's where it applies.

    Raises:
        ValueError: Shapes or dtypes do not fit, or ``impl`` is unknown.
        RuntimeError: A forward-mode level is active in inference mode, which drops tangents.
    """
    _check(query, key, value, impl)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    transformed = _transform_is_active()
    if transformed and not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
        raise RuntimeError("tangents are lost in inference mode; use torch.no_grad() instead")
    if impl == "reference" or transformed:
        return attention_reference(query, key, value, scale=scale, is_causal=is_causal)
    return functional.scaled_dot_product_attention(
        query, key, value, is_causal=is_causal, scale=scale
    )


def attention_with_tangent(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_tangent: Tensor,
    key_tangent: Tensor,
    value_tangent: Tensor,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    impl: Impl = "auto",
) -> AttentionResult:
    """Compute attention and its tangent from explicit tangents; gradients flow through both.

    Args:
        query: Queries (B, H, S, D), any float dtype.
        key: Keys (B, H, T, D).
        value: Values (B, H, T, E).
        query_tangent: Tangent of ``query``, same shape and dtype.
        key_tangent: Tangent of ``key``, same shape and dtype.
        value_tangent: Tangent of ``value``, same shape and dtype.
        scale: Factor of the scores; 1 / sqrt(D) if not given.
        is_causal: Query i sees the keys 0..i.
        impl: ``"auto"`` and ``"reference"`` are the same here.

    Returns:
        Output and tangent, (B, H, S, E) each, in the dtype of the query.

    Raises:
        ValueError: Shapes or dtypes do not fit, or ``impl`` is unknown.
    """
    _check(query, key, value, impl)
    primals, tangents = (query, key, value), (query_tangent, key_tangent, value_tangent)
    for name, primal, tangent in zip(("query", "key", "value"), primals, tangents, strict=True):
        if tangent.shape != primal.shape or tangent.dtype != primal.dtype:
            raise ValueError(
                f"{name}_tangent must be {primal.dtype} of shape {tuple(primal.shape)}, "
                f"got {tangent.dtype} of shape {tuple(tangent.shape)}"
            )
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return attention_with_tangent_reference(primals, tangents, scale=scale, is_causal=is_causal)


def _transform_is_active() -> bool:
    # Both are needed: dual_level leaves the functorch stack empty, torch.func.grad has no level.
    # torch.compile folds both into constants and guards on them.
    if forward_ad._current_level >= 0:
        return True
    stack: object | None = torch._C._functorch.peek_interpreter_stack()
    return stack is not None


def _check(query: Tensor, key: Tensor, value: Tensor, impl: str) -> None:
    if impl not in _IMPLS:
        raise ValueError(f"unknown impl '{impl}'. Available: {', '.join(_IMPLS)}.")
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.ndim != 4:
            raise ValueError(f"{name} must have shape (B, H, S, D), got {tuple(tensor.shape)}")
        if tensor.dtype != query.dtype or not tensor.is_floating_point():
            raise ValueError(
                f"query, key and value must share one float dtype, got {query.dtype}, "
                f"{key.dtype}, {value.dtype}"
            )
    batch, heads, _, head_dim = query.shape
    length = key.shape[2]
    if tuple(key.shape) != (batch, heads, length, head_dim):
        expected = (batch, heads, length, head_dim)
        raise ValueError(f"key must have shape {expected}, got {tuple(key.shape)}")
    if tuple(value.shape[:3]) != (batch, heads, length):
        expected = (batch, heads, length, value.shape[3])
        raise ValueError(f"value must have shape {expected}, got {tuple(value.shape)}")
