"""Ulysses context parallelism that carries tangents (Jacobs et al., 2023, arXiv:2309.14509).

Shape legend: n processes, B batch, H heads, s queries or keys of one process, D head size.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

from rcm_kernels.api import attention
from rcm_kernels.choice import Impl
from rcm_kernels.transforms import pack, unpack


def ulysses_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    group: dist.ProcessGroup | None = None,
    scale: float | None = None,
    is_causal: bool = False,
    impl: Impl = "auto",
) -> Tensor:
    """Compute self-attention over a sequence that is split over processes.

    One all-to-all brings every process all positions of some heads, primals and tangents together;
    a second one brings output and tangent back. Tangents are carried as in ``attention``, under
    ``forward_ad`` and ``torch.func.jvp``, and gradients flow through output and tangent.
    Attention to keys that every process has whole needs no communication: call ``attention``.

    Args:
        query: This process's queries (B, H, s, D): process r has positions r s to (r + 1) s.
        key: This process's keys (B, G, s, D).
        value: This process's values (B, G, s, E).
        group: The processes; all by default. Every one must hold equally many positions.
        scale: Factor of the scores; 1 / sqrt(D) if not given.
        is_causal: Position i sees 0..i of the whole sequence.
        impl: As in ``attention``.

    Returns:
        This process's output (B, H, s, E).

    Raises:
        ValueError: The number of processes does not divide the heads.
    """
    num = dist.get_world_size(group)
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.shape[1] % num:
            raise ValueError(
                f"the heads of {name} ({tensor.shape[1]}) must be a multiple of the number of "
                f"processes ({num})"
            )
    primals, tangents = zip(*(unpack(x) for x in (query, key, value)), strict=True)
    primals, tangents = _exchange(primals, tangents, group, to_heads=True)
    duals = [pack(*pair) for pair in zip(primals, tangents, strict=True)]
    shared = key.shape[1] != query.shape[1]
    whole = attention(*duals, scale=scale, is_causal=is_causal, impl=impl, enable_gqa=shared)
    output, tangent = unpack(whole)
    (output,), (tangent,) = _exchange((output,), (tangent,), group, to_heads=False)
    return pack(output, tangent)


def _exchange(
    primals: tuple[Tensor, ...],
    tangents: tuple[Tensor | None, ...],
    group: dist.ProcessGroup | None,
    *,
    to_heads: bool,
) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    """Exchange primals and those tangents that are there in one collective."""
    there = [tangent for tangent in tangents if tangent is not None]
    moved = iter(_AllToAll.apply(group, to_heads, *primals, *there))
    return (
        tuple(next(moved) for _ in primals),
        tuple(None if tangent is None else next(moved) for tangent in tangents),
    )


class _AllToAll(Function):
    """From parts of the sequence to parts of the heads, or back; its own transpose."""

    @staticmethod
    def forward(
        group: dist.ProcessGroup | None, to_heads: bool, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        num = dist.get_world_size(group)
        parts = [_split(x, num, 1 if to_heads else 2) for x in tensors]
        sent = torch.cat([part.reshape(num, -1) for part in parts], dim=1)
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=group)
        columns = torch.split(received, [part[0].numel() for part in parts], dim=1)
        pairs = zip(columns, parts, strict=True)
        return tuple(_join(x.reshape(part.shape), 2 if to_heads else 1) for x, part in pairs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.group, ctx.to_heads = inputs[:2]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return (None, None, *_AllToAll.apply(ctx.group, not ctx.to_heads, *gradients))

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise AssertionError("dual tensors must be unpacked before the exchange")


def _split(x: Tensor, num: int, dim: int) -> Tensor:
    """Return (n, B, H, s, D) with dimension 1 (heads) or 2 (positions) cut into n."""
    cut = (*x.shape[:dim], num, x.shape[dim] // num, *x.shape[dim + 1 :])
    return x.reshape(cut).movedim(dim, 0)


def _join(parts: Tensor, dim: int) -> Tensor:
    """Undo ``_split`` along another dimension: part r comes from process r."""
    return parts.movedim(0, dim).flatten(dim, dim + 1)
