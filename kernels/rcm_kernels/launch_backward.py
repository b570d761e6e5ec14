"""Launch the backward kernels.

Shape legend: B batch, H heads, S queries, E value size.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rcm_kernels import (
    triton_backward,
    triton_key_gradients,
    triton_query_gradients,
    tuning,
)
from rcm_kernels.configurations import Configuration, Kernel, named
from rcm_kernels.launch_arguments import Reader, blocks, grid, padded, presence
from rcm_kernels.reference import Gradients, Tangents, Triple
from rcm_kernels.tensors import Forward, last_contiguous, on_device, strides_of

# Which gradients of keys and values a launch computes, without and with a gradient of the tangent.
_KEY_PARTS: dict[bool, dict[Kernel, dict[str, bool]]] = {
    False: {"key_gradients": {"OF_KEY": True, "OF_VALUE": True}},
    True: {
        "key_gradients+tangent": {"OF_KEY": True, "OF_VALUE": False},
        "value_gradients+tangent": {"OF_KEY": False, "OF_VALUE": True},
    },
}


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
        {**presence(tangents), "CAUSAL": is_causal},
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
        read = Reader(chosen, self.inputs)
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
        return positional, named_ones | blocks(chosen, head_size, value_size) | read.flag

    def chosen(self, name: Kernel) -> Configuration:
        """Return the block sizes of a kernel."""
        query, _, value = self.inputs[:3]
        assert query is not None and value is not None
        return self.configurations.get(name) or tuning.chosen(name, query, value)


def _launch_row_sums(call: _Backward) -> None:
    output, tangent = call.saved.output, call.saved.tangent
    batch, heads, num_queries, value_size = output.shape
    triton_backward.row_sums[grid(num_queries, 32, batch * heads)](
        output,
        tangent,
        *call.inputs[6:],
        *call.sums,
        *(strides_of(x) for x in (output, tangent, *call.inputs[6:])),
        heads,
        num_queries,
        E=value_size,
        BLOCK_M=32,
        BLOCK_E=padded(value_size),
        **call.flags,
        num_warps=4,
    )


def _launch_query_gradients(call: _Backward) -> None:
    batch, heads, num_queries, _ = call.saved.output.shape
    chosen = call.chosen(named("query_gradients", moving=call.of_tangent))
    written = (call.result.query, call.result.query_tangent)
    positional, keywords = call.arguments(chosen, written)
    programs = grid(num_queries, chosen.block_m, batch * heads)
    triton_query_gradients.query_gradients[programs](*positional, **keywords)


def _launch_key_gradients(call: _Backward) -> None:
    result = call.result
    batch, groups, num_keys, _ = result.key.shape
    written = (result.key, result.value, result.key_tangent, result.value_tangent)
    for name, parts in _KEY_PARTS[call.of_tangent].items():
        chosen = call.chosen(name)
        positional, keywords = call.arguments(chosen, written)
        programs = grid(num_keys, chosen.block_n, batch * groups)
        triton_key_gradients.key_gradients[programs](*positional, **keywords, **parts)
