"""Launch the Gluon forward kernel, for the one case that it serves.

Shape legend: B batch, H heads, G heads of keys and values, S queries, T keys, D head size.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from rcm_kernels import gluon_forward, gluon_loads
from rcm_kernels.reference import Tangents, Triple
from rcm_kernels.tensors import (
    Forward,
    on_device,
    rows_first,
    strides_of,
    suits_tma,
)

BLOCK_M = 128
_ELEMENTS = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How the kernel is cut into blocks and ordered.

    Attributes:
        block_n: Keys in a block.
        stages: Slots of each ring.
        persistent: One program per multiprocessor takes many tiles.
    """

    block_n: int
    stages: int
    persistent: bool = True


# The fastest of six schedules each that were timed on an H100, and right.
SCHEDULES = {
    64: Schedule(block_n=128, stages=2, persistent=False),
    128: Schedule(block_n=64, stages=2),
}


def serves(primals: Triple, tangents: Tangents) -> bool:
    """Tell whether the kernel takes these inputs."""
    query, key, value = primals
    sizes = {x.shape[3] for x in primals}
    tensors = [*primals, *tangents]
    return (
        all(x is not None for x in tangents)
        and query.dtype in _ELEMENTS
        and len(sizes) == 1
        and query.shape[3] in SCHEDULES
        and key.shape[2] > 0
        and query.numel() > 0
        and all(x is None or (x.stride(3) == 1 and suits_tma(x)) for x in tensors)
    )


@torch.compiler.disable  # type: ignore[untyped-decorator]
def forward(
    primals: Triple,
    tangents: Tangents,
    factors: Tensor | None,
    *,
    scale: float,
    out_dtype: torch.dtype | None = None,
    schedule: Schedule | None = None,
) -> Forward:
    """Run the kernel; arguments and result are those of ``launch.forward``.

    Args:
        primals: Queries (B, H, S, D), keys (B, G, T, D), values (B, G, T, D).
        tangents: Theirs, all three.
        factors: Of ``launch_scaling.scaled``, if values and their tangent are.
        scale: Factor of the scores, positive.
        out_dtype: Dtype of output and tangent; the query's if not given.
        schedule: Blocks and order; that of the head size if not given.
    """
    query, key, _ = primals
    batch, heads, num_queries, head_size = query.shape
    like = {"device": query.device, "dtype": out_dtype or query.dtype}
    output = rows_first(query, head_size, **like)
    tangent = rows_first(query, head_size, **like)
    lse = torch.empty(batch, heads, num_queries, device=query.device, dtype=torch.float32)
    mu = torch.empty_like(lse)
    chosen = schedule or SCHEDULES[head_size]
    rows = [gluon_loads.ROWS.value, chosen.block_n, chosen.block_n] * 2
    inputs = (*primals, *tangents)
    num_tiles = triton.cdiv(num_queries, BLOCK_M) * batch * heads
    grid = (num_tiles,)
    if chosen.persistent and query.device.type == "cuda":
        grid = (min(num_tiles, _num_programs(query.device)),)
    with on_device(query.device):
        gluon_forward.attention_forward[grid](
            *(_descriptor(x, n, head_size) for x, n in zip(inputs, rows, strict=True)),
            output,
            tangent,
            lse,
            mu,
            factors,
            strides_of(output),
            strides_of(tangent),
            scale / math.log(2),
            num_tiles,
            heads,
            heads // key.shape[1],
            num_queries,
            key.shape[2],
            D=head_size,
            BLOCK_N=chosen.block_n,
            STAGES=chosen.stages,
            num_warps=4,
        )
    return Forward(output, tangent, lse, mu)


def _num_programs(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def _descriptor(x: Tensor | None, rows: int, columns: int) -> Any:
    assert x is not None
    block = [1, 1, rows, columns]
    layout = _layout(rows, columns, x.dtype)
    return TensorDescriptor(x, list(x.shape), list(x.stride()), block, layout)


@cache
def _layout(rows: int, columns: int, dtype: torch.dtype) -> Any:
    return gl.NVMMASharedLayout.get_default_for([1, 1, rows, columns], _ELEMENTS[dtype])
