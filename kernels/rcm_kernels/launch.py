"""Launch the forward kernels: which of them, allocation, strides, descriptors, grids.

Shape legend: B batch, H heads, G heads of keys and values, S queries, T keys, D head size,
E value size. Lengths are ordinary arguments: a new one compiles nothing beyond Triton's variants by
divisibility.
"""

import math

import torch
from torch import Tensor

from rcm_kernels import choice, triton_forward, tuning
from rcm_kernels.configurations import Configuration, named
from rcm_kernels.launch_arguments import Reader, blocks, grid, presence
from rcm_kernels.launch_backward import backward
from rcm_kernels.launch_scaling import scaled
from rcm_kernels.reference import Tangents, Triple
from rcm_kernels.tensors import Forward, last_contiguous, on_device, rows_first, strides_of

__all__ = ["Forward", "backward", "forward"]


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
    products: torch.dtype | None = None,
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
        products: Dtype of weights and values in their products: the inputs', or float16 for
            bfloat16 inputs with tangents (``triton_scaling``); ``choice.products`` if not given.
    """
    query, key, value = primals
    moving = any(x is not None for x in tangents)
    chosen = configuration or tuning.chosen(named("forward", moving=moving), query, value)
    factors = None
    if (products or choice.products(query, key, moving=moving)) != query.dtype:
        primals, tangents, factors = scaled(primals, tangents, scale, key_lengths)
    if chosen.gluon and not is_causal and key_lengths is None:
        from rcm_kernels import gluon_launch  # only Hopper GPUs need it

        if gluon_launch.serves(primals, tangents):
            done: Forward = gluon_launch.forward(
                primals, tangents, factors, scale=scale, out_dtype=out_dtype
            )
            return done
    result = _allocated(query, value.shape[3], out_dtype or query.dtype, moving=moving)
    if result.output.numel() > 0:
        _launch(primals, tangents, factors, result, chosen, scale, is_causal, key_lengths)
    return result


def _allocated(query: Tensor, value_size: int, dtype: torch.dtype, *, moving: bool) -> Forward:
    output = rows_first(query, value_size, device=query.device, dtype=dtype)
    tangent = rows_first(query, value_size, device=query.device, dtype=dtype) if moving else None
    lse = torch.empty(query.shape[:3], device=query.device, dtype=torch.float32)
    return Forward(output, tangent, lse, torch.empty_like(lse) if moving else None)


def _launch(
    primals: Triple,
    tangents: Tangents,
    factors: Tensor | None,
    result: Forward,
    chosen: Configuration,
    scale: float,
    is_causal: bool,
    key_lengths: Tensor | None,
) -> None:
    query, key, value = primals
    batch, heads, num_queries, head_size = query.shape
    inputs = [last_contiguous(x) for x in (*primals, *tangents)]
    read = Reader(chosen, inputs)
    with on_device(query.device):
        triton_forward.attention_forward[grid(num_queries, chosen.block_m, batch * heads)](
            *(read(x, rows) for x, rows in zip(inputs, "mnnmnn", strict=True)),
            *result,
            key_lengths,
            factors,
            *(strides_of(x) for x in (*inputs, result.output, result.tangent)),
            scale,
            scale / math.log(2),
            heads,
            heads // key.shape[1],
            num_queries,
            key.shape[2],
            D=head_size,
            E=value.shape[3],
            CAUSAL=is_causal,
            **presence(tangents),
            **blocks(chosen, head_size, value.shape[3]),
            **read.flag,
        )
