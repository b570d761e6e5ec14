# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
"""What the backward kernels share: gradients of output (G) and tangent (T) by all six inputs.

Shape legend: M a block of queries, N a block of keys, D head size, E value size.

From LSE and mu of the forward, and two sums per query, b = T . O and delta = G . O + T . tO:

    P = 2^(S - LSE);  W = tS - mu;  X = T V^T - b;  dtS = P X;
    dS = P (G V^T + T tV^T + X W - delta)
    dQ = scale (dS K + dtS tK)    dK = scale (dS^T Q + dtS^T tQ)    dV = P^T G + (P W)^T T
    dtQ = scale dtS K             dtK = scale dtS^T Q               dtV = P^T T

One kernel runs along the keys for the queries' gradients (``triton_query_gradients``), one along
the queries for those of keys and values (``triton_key_gradients``): 21 products where 15 would do,
no atomics, and the same bits every time. Without T it is the usual backward through the output.
HAS_G and HAS_T say which gradients arrived, HAS_TQ, HAS_TK and HAS_TV which inputs have a tangent.
"""

import triton
import triton.language as tl

from rcm_kernels.tiles import add_product, load_tile, product
from rcm_kernels.triton_forward import visible


@triton.jit
def row_sums(
    OUT, TO, G, T, B, DELTA,
    o_strides, to_strides, g_strides, t_strides,
    num_heads, num_queries,
    E: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_E: tl.constexpr,
    HAS_G: tl.constexpr, HAS_T: tl.constexpr,
):  # fmt: skip
    """Write b = rowsum(T O) and delta = rowsum(G O + T tO) for one block of queries."""
    num_blocks = tl.cdiv(num_queries, BLOCK_M)
    first = tl.program_id(0) % num_blocks * BLOCK_M
    batch_head = tl.program_id(0) // num_blocks
    batch, head = batch_head // num_heads, batch_head % num_heads
    rows = first + tl.arange(0, BLOCK_M)
    side = tl.cast(batch_head, tl.int64) * num_queries + rows
    delta = tl.zeros([BLOCK_M], tl.float32)
    o = load_tile(OUT, o_strides, batch, head, first, num_queries, E, BLOCK_M, BLOCK_E, True, False)
    o = o.to(tl.float32)
    if HAS_G:
        g = load_tile(
            G, g_strides, batch, head, first, num_queries, E, BLOCK_M, BLOCK_E, True, False
        )
        delta += tl.sum(g.to(tl.float32) * o, 1)
    if HAS_T:
        t = load_tile(
            T, t_strides, batch, head, first, num_queries, E, BLOCK_M, BLOCK_E, True, False
        ).to(tl.float32)
        to = load_tile(
            TO, to_strides, batch, head, first, num_queries, E, BLOCK_M, BLOCK_E, True, False
        )
        delta += tl.sum(t * to.to(tl.float32), 1)
        tl.store(B + side, tl.sum(t * o, 1), mask=rows < num_queries)
    tl.store(DELTA + side, delta, mask=rows < num_queries)


@triton.jit
def weights(
    q, k, lse, rows, columns, length, exponent, CAUSAL: tl.constexpr, CHECK: tl.constexpr
):  # fmt: skip
    """Return P = 2^(S - LSE) of rows q and columns k; CHECK where some are hidden."""
    s = product(q, tl.trans(k)) * exponent
    if CHECK:
        s = tl.where(visible(rows, columns, length, CAUSAL), s, float("-inf"))
    return tl.math.exp2(s - lse[:, None])


@triton.jit
def weight_gradient(a, b, ta, tb, HAS_G: tl.constexpr, HAS_TB: tl.constexpr):
    """Return a b^T + ta tb^T, the gradient by the weights, of what is there."""
    if HAS_G and HAS_TB:
        z = add_product(product(a, tl.trans(b)), ta, tl.trans(tb))
    elif HAS_G:
        z = product(a, tl.trans(b))
    elif HAS_TB:
        z = product(ta, tl.trans(tb))
    else:
        z = tl.zeros([a.shape[0], b.shape[0]], tl.float32)
    return z
