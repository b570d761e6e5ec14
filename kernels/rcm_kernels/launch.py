"""Launch the Triton kernels: allocation, strides, descriptors, grids.

Shape legend: B batch, H heads, G heads of keys and values, S queries, T keys, D head size,
E value size. Lengths are ordinary arguments: a new one compiles nothing beyond Triton's variants by
divisibility.
"""

import math
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from rcm_kernels import triton_backward, triton_forward, tuning
from rcm_kernels.configurations import Configuration, Kernel, named
from rcm_kernels.reference import Gradients, Tangents, Triple
from rcm_kernels.tensors import (
    Forward,
    last_contiguous,
    on_device,
    rows_first,
    strides_of,
    suits_tma,
)

# Which gradients of keys and values a launch computes, without and with a gradient of the tangent.
_KEY_PARTS: dict[bool, dict[Kernel, dict[str, bool]]] = {
    False: {"key_gradients": {"OF_KEY": True, "OF_VALUE": True}},
    True: {
        "key_gradients+tangent": {"OF_KEY": True, "OF_VALUE": False},
        "value_gradients+tangent": {"OF_KEY": False, "OF_VALUE": True},
    },
}


@torch.compiler.disable  # type: ignore[untyped-decorator]
def forward(
    primals: Triple,
    tangents: Tangents,
    *,
    scale: float,
    is_causal: bool,
    key_lengths: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    configuration: Configuration | None = None,
) -> Forward:
    """Run the forward kernel; without any tangent it is plain attention.

    Args:
        primals: Queries (B, H, S, D), keys (B, G, T, D), values (B, G, T, E).
        tangents: Theirs; None is zero and costs nothing.
        scale: Factor of the scores, positive.
        is_causal: Query i sees the keys 0..i.
        key_lengths: Keys that are no padding, (B,) integers.
        out_dtype: Dtype of output and tangent; the query's if not given.
        configuration: Block sizes; those of the table if not given.
    """
    query, key, value = primals
    batch, heads, num_queries, head_size = query.shape
    value_size = value.shape[3]
    moving = any(x is not None for x in tangents)
    chosen = configuration or tuning.chosen(named("forward", moving=moving), query, value)
    if chosen.gluon and not is_causal and key_lengths is None:
        from rcm_kernels import gluon_launch  # only Hopper GPUs need it

        if gluon_launch.serves(primals, tangents):
            done: Forward = gluon_launch.forward(
                primals, tangents, scale=scale, out_dtype=out_dtype
            )
            return done
    like = {"device": query.device, "dtype": out_dtype or query.dtype}
    output = rows_first(query, value_size, **like)
    tangent = rows_first(query, value_size, **like) if moving else None
    lse = torch.empty(batch, heads, num_queries, device=query.device, dtype=torch.float32)
    mu = torch.empty_like(lse) if moving else None
    result = Forward(output, tangent, lse, mu)
    if output.numel() == 0:
        return result
    inputs = [last_contiguous(x) for x in (*primals, *tangents)]
    read = _Reader(chosen, inputs)
    with on_device(query.device):
        triton_forward.attention_forward[_grid(num_queries, chosen.block_m, batch * heads)](
            *(read(x, rows) for x, rows in zip(inputs, "mnnmnn", strict=True)),
            output,
            tangent,
            lse,
            mu,
            key_lengths,
            *(strides_of(x) for x in (*inputs, output, tangent)),
            scale,
            scale / math.log(2),
            heads,
            heads // key.shape[1],
            num_queries,
            key.shape[2],
            D=head_size,
            E=value_size,
            CAUSAL=is_causal,
            WARP_SPECIALIZE=chosen.warp_specialize,
            **_presence(tangents),
            **_blocks(chosen, head_size, value_size),
            **read.flag,
        )
    return result


@torch.compiler.disable  # type: ignore[untyped-decorator]
def backward(
    primals: Triple,
    tangents: Tangents,
    saved: Forward,
    grad_output: Tensor | None,
    grad_tangent: Tensor | None,
    *,
    scale: float,
    is_causal: bool,
    key_lengths: Tensor | None = None,
    configurations: dict[Kernel, Configuration] | None = None,
) -> Gradients:
    """Run the backward kernels.

    Args:
        primals: As in ``forward``.
        tangents: As in ``forward``.
        saved: What ``forward`` returned.
        grad_output: Gradient by the output (B, H, S, E); None is zero.
        grad_tangent: Gradient by the tangent, likewise.
        scale: As in ``forward``.
        is_causal: As in ``forward``.
        key_lengths: As in ``forward``.
        configurations: Block sizes; those of the table where not given.
    """
    query, key, _ = primals
    # Without a gradient of the tangent nothing depends on the tangents.
    result = Gradients(
        *(torch.empty_like(x) for x in primals),
        *(None if x is None or grad_tangent is None else torch.empty_like(x) for x in tangents),
    )
    if query.numel() == 0 or key.numel() == 0 or (grad_output is None and grad_tangent is None):
        return Gradients(*(None if x is None else x.zero_() for x in result))  # type: ignore[arg-type]
    call = _Backward(
        [last_contiguous(x) for x in (*primals, *tangents, grad_output, grad_tangent)],
        saved,
        torch.empty(2, *query.shape[:3], device=query.device, dtype=torch.float32),
        key_lengths,
        result,
        (scale, scale / math.log(2)),
        {**_presence(tangents), "CAUSAL": is_causal},
        configurations or {},
    )
    with on_device(query.device):
        if query.dtype != torch.float32:  # there the queries' kernel takes them from the weights
            _launch_row_sums(call)
        _launch_query_gradients(call)
        _launch_key_gradients(call)
    return result


class _Backward(NamedTuple):
    """What the backward kernels share."""

    inputs: list[Tensor | None]  # primals, tangents, gradients of output and tangent
    saved: Forward
    sums: Tensor  # (2, B, H, S): b and delta
    key_lengths: Tensor | None
    result: Gradients
    scales: tuple[float, float]
    present: dict[str, bool]
    configurations: dict[Kernel, Configuration]

    @property
    def of_tangent(self) -> bool:
        """Say whether the tangent has a gradient."""
        return self.inputs[7] is not None

    @property
    def flags(self) -> dict[str, bool]:
        """Say which gradients arrived."""
        return {"HAS_G": self.inputs[6] is not None, "HAS_T": self.of_tangent}

    def arguments(self, chosen: Configuration, written: tuple[Tensor | None, ...]) -> Any:
        """Return positional and keyword arguments of a kernel of gradients."""
        query, key, value = self.inputs[:3]
        assert query is not None and key is not None and value is not None
        read = _Reader(chosen, self.inputs)
        head_size, value_size = query.shape[3], value.shape[3]
        mu = self.saved.lse if self.saved.mu is None else self.saved.mu
        heads, groups = query.shape[1], key.shape[1]
        positional = (
            *(read(x, rows) for x, rows in zip(self.inputs, "mnnmnnmm", strict=True)),
            *(self.saved.lse, mu, *self.sums, self.key_lengths),
            *written,
            *(strides_of(x) for x in (*self.inputs, *written)),
            *(*self.scales, heads, heads // groups, query.shape[2], key.shape[2]),
        )
        named_ones = {"D": head_size, "E": value_size, **self.present, **self.flags}
        return positional, named_ones | _blocks(chosen, head_size, value_size) | read.flag

    def chosen(self, name: Kernel) -> Configuration:
        """Return the block sizes of a kernel."""
        query, _, value = self.inputs[:3]
        assert query is not None and value is not None
        return self.configurations.get(name) or tuning.chosen(name, query, value)


def _launch_row_sums(call: _Backward) -> None:
    output, tangent = call.saved.output, call.saved.tangent
    batch, heads, num_queries, value_size = output.shape
    triton_backward.row_sums[_grid(num_queries, 32, batch * heads)](
        output,
        tangent,
        *call.inputs[6:],
        *call.sums,
        *(strides_of(x) for x in (output, tangent, *call.inputs[6:])),
        heads,
        num_queries,
        E=value_size,
        BLOCK_M=32,
        BLOCK_E=_padded(value_size),
        **call.flags,
        num_warps=4,
    )


def _launch_query_gradients(call: _Backward) -> None:
    batch, heads, num_queries, _ = call.saved.output.shape
    chosen = call.chosen(named("query_gradients", moving=call.of_tangent))
    written = (call.result.query, call.result.query_tangent)
    positional, keywords = call.arguments(chosen, written)
    grid = _grid(num_queries, chosen.block_m, batch * heads)
    triton_backward.query_gradients[grid](*positional, **keywords)


def _launch_key_gradients(call: _Backward) -> None:
    result = call.result
    batch, groups, num_keys, _ = result.key.shape
    written = (result.key, result.value, result.key_tangent, result.value_tangent)
    for name, parts in _KEY_PARTS[call.of_tangent].items():
        chosen = call.chosen(name)
        positional, keywords = call.arguments(chosen, written)
        grid = _grid(num_keys, chosen.block_n, batch * groups)
        triton_backward.key_gradients[grid](*positional, **keywords, **parts)


class _Reader:
    """Hand tensors to a kernel: as descriptors if the configuration and all strides allow it."""

    def __init__(self, chosen: Configuration, tensors: list[Tensor | None]) -> None:
        self.blocks = {"m": chosen.block_m, "n": chosen.block_n}
        self.tma = chosen.tma and all(x is None or suits_tma(x) for x in tensors)
        self.flag = {"TMA": self.tma}

    def __call__(self, x: Tensor | None, rows: str) -> Any:
        if x is None or not self.tma:
            return x
        block = [1, 1, self.blocks[rows], _padded(x.shape[3])]
        return TensorDescriptor(x, list(x.shape), list(x.stride()), block)


def _grid(num_rows: int, block: int, num_heads: int) -> tuple[int]:
    # One dimension: the others end at 65535.
    return (triton.cdiv(num_rows, block) * num_heads,)


def _padded(size: int) -> int:
    return max(16, 1 << (size - 1).bit_length())


def _presence(tangents: Tangents) -> dict[str, bool]:
    return {
        name: x is not None
        for name, x in zip(("HAS_TQ", "HAS_TK", "HAS_TV"), tangents, strict=True)
    }


def _blocks(chosen: Configuration, head_size: int, value_size: int) -> dict[str, int]:
    return {
        "BLOCK_M": chosen.block_m,
        "BLOCK_N": chosen.block_n,
        "BLOCK_D": _padded(head_size),
        "BLOCK_E": _padded(value_size),
        "num_warps": chosen.num_warps,
        "num_stages": chosen.num_stages,
    }
