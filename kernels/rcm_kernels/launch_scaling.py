"""Launch the kernels that scale values to float16; ``triton_scaling`` says how and why.

Shape legend: B batch, H heads, G heads of keys and values, S queries, T keys, D head size,
E value size.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rcm_kernels.launch_arguments import grid, padded
from rcm_kernels.reference import Tangents, Triple
from rcm_kernels.tensors import last_contiguous, on_device, strides_of
from rcm_kernels.triton_scaling import find_exponents, scale_values


class Scaled(NamedTuple):
    """Inputs of the forward kernel with values in float16."""

    primals: Triple  # the values are V' (B, G, T, E)
    tangents: Tangents  # the values' is tV'
    factors: Tensor  # (B, G, 2) float32: 2^v and 2^e


def scaled(primals: Triple, tangents: Tangents, scale: float, key_lengths: Tensor | None) -> Scaled:
    """Scale the values and their tangent to float16; arguments are those of ``launch.forward``."""
    query, key, value = primals
    batch, heads, num_queries, head_size = query.shape
    groups, num_keys, value_size = value.shape[1:]
    inputs = [last_contiguous(x) for x in (*primals, *tangents)]
    narrow, narrow_tangent = (
        None if x is None else torch.empty(x.shape, device=x.device, dtype=torch.float16)
        for x in (value, tangents[2])
    )
    assert narrow is not None
    exponents = torch.zeros(batch, groups, 6, device=query.device, dtype=torch.int32)
    factors = torch.empty(batch, groups, 2, device=query.device, dtype=torch.float32)
    # 16 K elements, 128 a thread of four warps: reading memory is all there is to do.
    block = max(16, 2**14 // padded(max(head_size, value_size)))
    with on_device(query.device):
        find_exponents[grid(max(num_queries, num_keys), block, batch * heads)](
            *inputs,
            exponents,
            key_lengths,
            *map(strides_of, inputs),
            heads,
            heads // groups,
            num_queries,
            num_keys,
            D=head_size,
            E=value_size,
            BLOCK=block,
            BLOCK_D=padded(head_size),
            BLOCK_E=padded(value_size),
        )
        scale_values[grid(num_keys, block, batch * groups)](
            inputs[2],
            inputs[5],
            exponents,
            key_lengths,
            narrow,
            narrow_tangent,
            factors,
            *map(strides_of, (inputs[2], inputs[5], narrow, narrow_tangent)),
            math.frexp(scale * head_size)[1],
            groups,
            num_keys,
            E=value_size,
            BLOCK=block,
            BLOCK_E=padded(value_size),
        )
    moved = (tangents[0], tangents[1], narrow_tangent)
    return Scaled((query, key, narrow), moved, factors)
