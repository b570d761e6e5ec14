"""What every launch does with its tensors: layouts, strides, what it returns.

Shape legend: B batch, H heads, S queries, E value size.
"""

import contextlib
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Forward(NamedTuple):
    """What the forward kernel writes."""

    output: Tensor  # (B, H, S, E)
    tangent: Tensor | None  # (B, H, S, E)
    lse: Tensor  # (B, H, S) float32, log2 of the sum of 2^score
    mu: Tensor | None  # (B, H, S) float32, mean of the scores' tangent


def suits_tma(x: Tensor) -> bool:
    """Tell whether a tensor memory descriptor can address the tensor."""
    outer = [stride * x.element_size() for stride in x.stride()[:3]]
    return x.data_ptr() % 16 == 0 and all(n > 0 and n % 16 == 0 for n in outer)


def last_contiguous(x: Tensor | None) -> Tensor | None:
    """Return the tensor with elements of a row next to each other, copied only if they are not."""
    return x if x is None or x.stride(3) == 1 or x.shape[3] == 1 else x.contiguous()


def strides_of(x: Tensor | None) -> tuple[int, int, int]:
    """Return the strides of batch, head and row."""
    return (0, 0, 0) if x is None else (x.stride(0), x.stride(1), x.stride(2))


def rows_first(query: Tensor, size: int, **like: Any) -> Tensor:
    """Allocate (B, H, S, size) in the layout of the query: (B, S, H, size) views stay such."""
    batch, heads, num_queries, _ = query.shape
    if query.stride(1) < query.stride(2):
        return torch.empty(batch, num_queries, heads, size, **like).transpose(1, 2)
    return torch.empty(batch, heads, num_queries, size, **like)


def on_device(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Make the device of the tensors the current one, as a launch needs it."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
