"""Activation checkpointing that carries tangents."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint as plain_checkpoint

from rcm_kernels.transforms import pack, unpack


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function now and again in the backward pass, instead of keeping its activations.

    PyTorch's checkpoint recomputes without the tangents of dual tensors, and fails or is wrong.
    Here primals and tangents are explicit inputs of what is recomputed, and the recomputation
    enters a forward-mode level of its own. Gradients flow through primals and tangents.

    Fits diffusers: ``model.enable_gradient_checkpointing(checkpoint)``.

    Args:
        function: What is computed; tensors that it closes over must have no tangents.
        args: Its inputs, nested tuples, lists and dicts of tensors included, dual or not.

    Returns:
        What the function returns, with tangents where it has them.

    Raises:
        RuntimeError: Under a transform of torch.func, whose tensors no backward may hold.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise RuntimeError(
            "checkpoint carries tangents within forward_ad.dual_level(), not within torch.func.jvp "
            "or another transform of torch.func: ask for the tangent with forward_ad"
        )
    leaves, structure = tree_flatten(args)
    pairs = [unpack(x) if isinstance(x, Tensor) else (x, None) for x in leaves]

    def on_pairs(primals: list[Any], tangents: list[Tensor | None]) -> Any:
        level = forward_ad.dual_level() if forward_ad._current_level < 0 else nullcontext()
        with level:
            moved = map(pack, primals, tangents)
            outputs, shape = tree_flatten(function(*tree_unflatten(list(moved), structure)))
            split = [unpack(x) if isinstance(x, Tensor) else (x, None) for x in outputs]
        return split, shape

    split, shape = plain_checkpoint(
        on_pairs, [p for p, _ in pairs], [t for _, t in pairs], use_reentrant=False
    )
    return tree_unflatten([pack(primal, tangent) for primal, tangent in split], shape)
