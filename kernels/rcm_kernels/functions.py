"""Attention as autograd functions of primals and explicit tangents, with gradients through both.

Forward mode never reaches these functions: ``dual.attend`` unpacks dual tensors first and packs the
results after. A tangent that PyTorch asks for through ``jvp`` would cost a second pass, and under
torch.compile it is dropped.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from rcm_kernels.masking import Masking
from rcm_kernels.reference import (
    attention_reference,
    attention_with_tangent_reference,
    gradients_reference,
)

_LEAVE = (
    "this backward runs inside a forward-mode level, where its own tangents would be lost: leave "
    "the level first (or, for forward over reverse, use torch.func.jvp of torch.func.grad "
    "with impl='reference')"
)

_ONCE = "impl='triton' has first gradients only; for gradients of gradients use impl='reference'"


class ReferenceFunction(Function):
    """The reference without its (S, T) matrices in memory between forward and backward."""

    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_tangent: Tensor | None,
        key_tangent: Tensor | None,
        value_tangent: Tensor | None,
        visible: Tensor | None,
        bias: Tensor | None,
        scale: float,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output, and the tangent if an input has one."""
        primals, tangents = (query, key, value), (query_tangent, key_tangent, value_tangent)
        hidden = Masking(visible, bias)
        if all(x is None for x in tangents):
            return attention_reference(primals, hidden, scale), None
        return tuple(attention_with_tangent_reference(primals, tangents, hidden, scale))  # type: ignore[return-value]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep the inputs; the backward recomputes the rest from them."""
        *tensors, ctx.scale = inputs
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad_output: Any, grad_tangent: Any) -> Any:
        """Return the six gradients; made of plain operations, and so differentiable again."""
        *tensors, visible, bias = ctx.saved_tensors
        primals, tangents = tuple(tensors[:3]), tuple(tensors[3:])
        refuse_inside_a_level(tangents)
        grads = gradients_reference(
            primals, tangents, grad_output, grad_tangent, Masking(visible, bias), ctx.scale
        )
        return (*grads, None, None, None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refuse: tangents are explicit inputs here."""
        raise AssertionError("dual tensors must be unpacked before ReferenceFunction")


class TritonFunction(Function):
    """The fused kernels, forward and backward."""

    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_tangent: Tensor | None,
        key_tangent: Tensor | None,
        value_tangent: Tensor | None,
        key_lengths: Tensor | None,
        scale: float,
        is_causal: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """Return output, tangent, and per query log2 sum 2^score and the scores' mean tangent."""
        from rcm_kernels import launch

        return tuple(
            launch.forward(
                (query, key, value),
                (query_tangent, key_tangent, value_tangent),
                scale=scale,
                is_causal=is_causal,
                key_lengths=key_lengths,
            )
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep inputs and outputs."""
        *tensors, ctx.scale, ctx.is_causal = inputs
        ctx.mark_non_differentiable(*(x for x in output[2:] if x is not None))
        ctx.save_for_backward(*tensors, *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad_output: Any, grad_tangent: Any, *_: Any) -> Any:
        """Return the six gradients."""
        saved = ctx.saved_tensors  # once: activation checkpointing refuses a second reading
        refuse_inside_a_level(tuple(saved[3:6]))
        grads = _TritonGradients.apply(*saved, grad_output, grad_tangent, ctx.scale, ctx.is_causal)
        return (*grads, None, None, None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refuse: tangents are explicit inputs here."""
        raise AssertionError("dual tensors must be unpacked before TritonFunction")


class _TritonGradients(Function):
    """The backward kernels as a function of their own, so that asking for more is an error."""

    @staticmethod
    def forward(*arguments: Any) -> Any:
        """Return the six gradients; None where there is none."""
        from rcm_kernels import launch
        from rcm_kernels.tensors import Forward

        *tensors, scale, is_causal = arguments
        primals, tangents, key_lengths = tuple(tensors[:3]), tuple(tensors[3:6]), tensors[6]
        return tuple(
            launch.backward(
                primals,
                tangents,
                Forward(*tensors[7:11]),
                *tensors[11:],
                scale=scale,
                is_causal=is_causal,
                key_lengths=key_lengths,
            )
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Refuse."""
        raise RuntimeError(_ONCE)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refuse."""
        raise RuntimeError(_ONCE)


def refuse_inside_a_level(tangents: tuple[Tensor | None, ...]) -> None:
    """Refuse a backward whose saved inputs lost tangents that the active level still has."""
    if (
        any(x is not None for x in tangents)
        and torch.autograd.forward_ad._current_level >= 0
        and torch._C._is_fwd_grad_enabled()
    ):
        raise RuntimeError(_LEAVE)
