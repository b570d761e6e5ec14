"""The public face: checks, and the choice of an implementation.

Shape legend: B batch, H heads, G heads of keys and values, S queries, T keys, D head size,
E value size.
"""

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional

from rcm_kernels import arguments, choice, dual, transforms
from rcm_kernels.choice import Impl
from rcm_kernels.masking import Masking, masking
from rcm_kernels.reference import AttentionResult


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    impl: Impl = "auto",
    enable_gqa: bool = False,
    attn_mask: Tensor | None = None,
    key_lengths: Tensor | None = None,
) -> Tensor:
    """Compute O = softmax(scale Q K^T) V; carries tangents in forward-mode differentiation.

    Works in plain calls, under ``torch.func.jvp``, under ``forward_ad.dual_level``, with gradients
    through output and tangent, and inside ``torch.compile`` (a compiled function may call
    ``torch.func.jvp``; a compiled function inside a forward-mode level runs uncompiled, and is an
    error with ``fullgraph=True``).

    Args:
        query: Queries (B, H, S, D): float16, bfloat16, float32 or float64.
        key: Keys (B, G, T, D).
        value: Values (B, G, T, E).
        scale: Factor of the scores; 1 / sqrt(D) if not given.
        is_causal: Query i sees the keys 0..i (aligned at the first key, as in PyTorch).
        impl: ``"reference"`` writes the softmax out in promote_types(dtype, float32) with autocast
            off, and has derivatives of every order. ``"triton"`` runs the fused kernels: CUDA,
            16-bit or float32, D and E of 16 to 256, no attn_mask, first gradients of output and
            tangent. ``"auto"`` takes PyTorch's scaled_dot_product_attention (which follows
            autocast, and on CUDA has first gradients only) while no forward-mode level or functorch
            transform is active; else the fused kernels on a Hopper GPU with 16-bit inputs that they
            can run, and the reference everywhere else.
        enable_gqa: Let several heads of queries share a head of keys; G must divide H.
        attn_mask: Who sees whom, broadcast to (B, H, S, T): booleans (True is seen) or numbers of
            the query's dtype, added to the scaled scores. Served by the reference and by PyTorch.
        key_lengths: Keys and values from ``key_lengths[b]`` on are padding that no query sees;
            (B,) int32 or int64, each from 0 to T (not checked on a GPU: reading them would wait).

    Returns:
        The output (B, H, S, E). Its dtype is the query's, or autocast's where it applies. A query
        that sees no key has output and derivatives zero.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit, or ``impl`` is unknown or cannot run this.
        RuntimeError: A forward-mode level is active in inference mode, which drops tangents.
    """
    primals = (query, key, value)
    _check(primals, is_causal, impl, enable_gqa, attn_mask, key_lengths)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    transformed = transforms.transform_is_active()
    if torch.compiler.is_compiling():
        transforms.refuse_a_level_around_a_trace()
    elif transformed:
        _check_forward_mode(primals)
    # Without tangents PyTorch's own kernels are as fast, and take what is chosen of them.
    ordinary = impl == "auto" and not transformed
    if not (ordinary and key_lengths is None) and _takes_triton(
        primals, (), impl, scale, attn_mask
    ):
        from rcm_kernels import fused

        out: Tensor = fused.attend(primals, key_lengths, scale, is_causal=is_causal)
        return out
    if ordinary:
        return _fused(primals, scale, is_causal, enable_gqa, attn_mask, key_lengths)
    hidden = masking(query, key, is_causal=is_causal, attn_mask=attn_mask, key_lengths=key_lengths)
    return dual.reference(primals, hidden, scale, plain=_plain())


def attention_with_tangent(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_tangent: Tensor | None,
    key_tangent: Tensor | None,
    value_tangent: Tensor | None,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    impl: Impl = "auto",
    enable_gqa: bool = False,
    attn_mask: Tensor | None = None,
    key_lengths: Tensor | None = None,
) -> AttentionResult:
    """Compute attention and its tangent from explicit tangents; gradients flow through both.

    Args:
        query: Queries (B, H, S, D).
        key: Keys (B, G, T, D).
        value: Values (B, G, T, E).
        query_tangent: Tangent of ``query``, same shape and dtype; None is zero, and cheaper.
        key_tangent: Tangent of ``key``, likewise.
        value_tangent: Tangent of ``value``, likewise.
        scale: Factor of the scores; 1 / sqrt(D) if not given.
        is_causal: Query i sees the keys 0..i.
        impl: As in ``attention``; ``"auto"`` never is PyTorch's here.
        enable_gqa: As in ``attention``.
        attn_mask: As in ``attention``; its own tangent is taken as zero.
        key_lengths: As in ``attention``.

    Returns:
        Output and tangent, (B, H, S, E) each, in the dtype of the query.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit, or ``impl`` is unknown or cannot run this.
    """
    primals, tangents = (query, key, value), (query_tangent, key_tangent, value_tangent)
    _check(primals, is_causal, impl, enable_gqa, attn_mask, key_lengths)
    arguments.check_tangents(primals, tangents)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if _takes_triton(primals, tangents, impl, scale, attn_mask):
        from rcm_kernels import fused

        found: AttentionResult = fused.attend_with_tangent(
            primals, tangents, key_lengths, scale, is_causal=is_causal
        )
        return found
    hidden = masking(query, key, is_causal=is_causal, attn_mask=attn_mask, key_lengths=key_lengths)
    plain = _plain() or transforms.around() == "forward"
    return dual.reference_with_tangent(primals, tangents, hidden, scale, plain=plain)


def _check(
    primals: tuple[Tensor, Tensor, Tensor],
    is_causal: bool,
    impl: str,
    enable_gqa: bool,
    attn_mask: Tensor | None,
    key_lengths: Tensor | None,
) -> None:
    arguments.check_impl(impl)
    arguments.check_inputs(*primals, enable_gqa=enable_gqa)
    arguments.check_masks(
        *primals[:2], is_causal=is_causal, attn_mask=attn_mask, key_lengths=key_lengths
    )


def _check_forward_mode(primals: tuple[Tensor, Tensor, Tensor]) -> None:
    if forward_ad._current_level < 0:
        return
    if torch.is_inference_mode_enabled():
        raise RuntimeError("tangents are lost in inference mode; use torch.no_grad() instead")
    arguments.check_tangents(primals, tuple(transforms.unpack(x)[1] for x in primals))


def _takes_triton(
    primals: tuple[Tensor, Tensor, Tensor],
    tangents: tuple[Tensor | None, ...],
    impl: str,
    scale: float,
    attn_mask: Tensor | None,
) -> bool:
    """Tell whether the fused kernels run a call; raise if they were asked for and cannot."""
    # In a trace nothing is asked of the GPU: the question would become a part of what is compiled.
    tracing = torch.compiler.is_compiling()
    if impl == "reference" or (impl == "auto" and (tracing or not choice.unasked(primals[0]))):
        return False
    if tracing:
        reason: str | None = choice.NOT_IN_A_TRACE
    else:
        # Explicit tangents inside a level would be differentiated once more.
        surroundings = transforms.around()
        again = bool(tangents) and surroundings == "forward"
        reason = choice.why_not_triton(
            primals[0],
            primals[2],
            scale=scale,
            attn_mask=attn_mask,
            surroundings="nested" if again else surroundings,
        )
    if reason is not None and impl == "triton":
        raise ValueError(f"impl='triton' cannot run this: {reason}; impl='reference' can")
    return reason is None


def _plain() -> bool:
    """Tell whether differentiation is left to PyTorch, operation by operation."""
    return torch.compiler.is_compiling() or transforms.around() == "nested"


def _fused(
    primals: tuple[Tensor, Tensor, Tensor],
    scale: float,
    is_causal: bool,
    enable_gqa: bool,
    attn_mask: Tensor | None,
    key_lengths: Tensor | None,
) -> Tensor:
    """Run PyTorch's own attention, which knows no key lengths: they become a mask."""
    if key_lengths is not None:
        hidden = masking(
            *primals[:2], is_causal=is_causal, attn_mask=attn_mask, key_lengths=key_lengths
        )
        attn_mask, is_causal = _as_attn_mask(hidden), False
    return functional.scaled_dot_product_attention(
        *primals, attn_mask=attn_mask, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa
    )


def _as_attn_mask(hidden: Masking) -> Tensor | None:
    if hidden.bias is None or hidden.visible is None:
        return hidden.visible if hidden.bias is None else hidden.bias
    return hidden.bias.masked_fill(~hidden.visible, -torch.inf)
