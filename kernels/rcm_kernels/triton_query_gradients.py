# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
"""The kernel of the queries' gradients; equations and names are those of ``triton_backward``."""

import triton
import triton.language as tl

from rcm_kernels.tiles import add_exactly, load_tile, narrow, product, store_tile, sum_up_product
from rcm_kernels.triton_backward import weight_gradient, weights
from rcm_kernels.triton_forward import score_tangent


@triton.jit
def _query_gradients(
    state, lost, tiles, sums, inputs, strides, place, lengths, bounds, scale, exponent,
    D: tl.constexpr, E: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    CAUSAL: tl.constexpr, HAS_TQ: tl.constexpr, HAS_TK: tl.constexpr, HAS_TV: tl.constexpr,
    HAS_G: tl.constexpr, HAS_T: tl.constexpr, CHECK: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """Add what the keys of ``bounds`` contribute to dQ and dtQ, not scaled."""
    HAS_TS: tl.constexpr = HAS_T and (HAS_TQ or HAS_TK)
    dq, dtq = state
    lost_dq, lost_dtq = lost
    q, tq, g, t = tiles
    lse, mu, b, delta = sums
    K, V, TK, TV = inputs
    k_strides, v_strides, tk_strides, tv_strides = strides
    batch, group, first_row = place
    num_keys, length = lengths
    start, stop = bounds
    rows = first_row + tl.arange(0, BLOCK_M)
    for first in tl.range(start, stop, BLOCK_N):
        k = load_tile(K, k_strides, batch, group, first, num_keys, D, BLOCK_N, BLOCK_D, CHECK, TMA)
        v = load_tile(V, v_strides, batch, group, first, num_keys, E, BLOCK_N, BLOCK_E, CHECK, TMA)
        columns = first + tl.arange(0, BLOCK_N)
        p = weights(q, k, lse, rows, columns, length, exponent, CAUSAL, CHECK)
        tv = v
        if HAS_T and HAS_TV:
            tv = load_tile(
                TV, tv_strides, batch, group, first, num_keys, E, BLOCK_N, BLOCK_E, CHECK, TMA
            )
        z = weight_gradient(g, v, t, tv, HAS_G, HAS_T and HAS_TV) - delta[:, None]
        if HAS_TS:
            tk = k
            if HAS_TK:
                tk = load_tile(
                    TK, tk_strides, batch, group, first, num_keys, D, BLOCK_N, BLOCK_D, CHECK, TMA
                )
            x = product(t, tl.trans(v)) - b[:, None]
            z += x * (score_tangent(q, k, tq, tk, HAS_TQ, HAS_TK) * scale - mu[:, None])
            dts = narrow(p * x, q.dtype)
            if HAS_TQ:
                dtq, lost_dtq = sum_up_product(dtq, lost_dtq, dts, k)
            if HAS_TK:
                dq, lost_dq = sum_up_product(dq, lost_dq, dts, tk)
        dq, lost_dq = sum_up_product(dq, lost_dq, narrow(p * z, q.dtype), k)
    return (dq, dtq), (lost_dq, lost_dtq)


@triton.jit
def _weigh(
    sums, lost, tiles, lse, mu, inputs, strides, place, lengths, bounds, scale, exponent,
    D: tl.constexpr, E: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    CAUSAL: tl.constexpr, HAS_TQ: tl.constexpr, HAS_TK: tl.constexpr, HAS_TV: tl.constexpr,
    HAS_G: tl.constexpr, HAS_T: tl.constexpr, CHECK: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """Add the keys of ``bounds`` to sum P, sum P Y, sum P T V^T, sum P T V^T W and sum P W.

    Y = G V^T + T tV^T. What dS and dtS sum to over the keys is then zero up to the last bit, though
    their parts are rounded: a common offset of the keys cancels, as it does in a softmax's
    gradient. From O and tO, rounded otherwise, float32 would miss its budget.
    """
    p_sum, y_sum, x_sum, xw_sum, w_sum = sums
    lost_p, lost_y, lost_x, lost_xw, lost_w = lost
    q, tq, g, t = tiles
    K, V, TK, TV = inputs
    k_strides, v_strides, tk_strides, tv_strides = strides
    batch, group, first_row = place
    num_keys, length = lengths
    start, stop = bounds
    rows = first_row + tl.arange(0, BLOCK_M)
    for first in tl.range(start, stop, BLOCK_N):
        k = load_tile(K, k_strides, batch, group, first, num_keys, D, BLOCK_N, BLOCK_D, CHECK, TMA)
        v = load_tile(V, v_strides, batch, group, first, num_keys, E, BLOCK_N, BLOCK_E, CHECK, TMA)
        columns = first + tl.arange(0, BLOCK_N)
        p = weights(q, k, lse, rows, columns, length, exponent, CAUSAL, CHECK)
        tk, tv = k, v
        if HAS_T and HAS_TV:
            tv = load_tile(
                TV, tv_strides, batch, group, first, num_keys, E, BLOCK_N, BLOCK_E, CHECK, TMA
            )
        y = weight_gradient(g, v, t, tv, HAS_G, HAS_T and HAS_TV)
        p_sum, lost_p = add_exactly(p_sum, lost_p, tl.sum(p, 1))
        y_sum, lost_y = add_exactly(y_sum, lost_y, tl.sum(p * y, 1))
        if HAS_T and (HAS_TQ or HAS_TK):
            if HAS_TK:
                tk = load_tile(
                    TK, tk_strides, batch, group, first, num_keys, D, BLOCK_N, BLOCK_D, CHECK, TMA
                )
            x = p * product(t, tl.trans(v))
            w = score_tangent(q, k, tq, tk, HAS_TQ, HAS_TK) * scale - mu[:, None]
            x_sum, lost_x = add_exactly(x_sum, lost_x, tl.sum(x, 1))
            xw_sum, lost_xw = add_exactly(xw_sum, lost_xw, tl.sum(x * w, 1))
            w_sum, lost_w = add_exactly(w_sum, lost_w, tl.sum(p * w, 1))
    sums = (p_sum, y_sum, x_sum, xw_sum, w_sum)
    return sums, (lost_p, lost_y, lost_x, lost_xw, lost_w)


@triton.jit
def query_gradients(
    Q, K, V, TQ, TK, TV, G, T, LSE, MU, B, DELTA, LENGTHS, DQ, DTQ,
    q_strides, k_strides, v_strides, tq_strides, tk_strides, tv_strides, g_strides, t_strides,
    dq_strides, dtq_strides,
    scale, exponent, num_heads, heads_per_group, num_queries, num_keys,
    D: tl.constexpr, E: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    CAUSAL: tl.constexpr, HAS_TQ: tl.constexpr, HAS_TK: tl.constexpr, HAS_TV: tl.constexpr,
    HAS_G: tl.constexpr, HAS_T: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """Write dQ and dtQ of one block of queries, and in float32 first b and delta."""
    HAS_TS: tl.constexpr = HAS_T and (HAS_TQ or HAS_TK)
    num_blocks = tl.cdiv(num_queries, BLOCK_M)
    block = tl.program_id(0) % num_blocks
    if CAUSAL:
        block = num_blocks - 1 - block
    batch_head = tl.program_id(0) // num_blocks
    batch, head = batch_head // num_heads, batch_head % num_heads
    group = head // heads_per_group
    first = block * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    inside = rows < num_queries
    length = num_keys
    if LENGTHS is not None:
        length = tl.minimum(num_keys, tl.load(LENGTHS + batch).to(tl.int32))
    stop = length
    whole = length // BLOCK_N * BLOCK_N
    if CAUSAL:
        stop = tl.minimum(length, first + BLOCK_M)
        whole = tl.minimum(whole, (first + 1) // BLOCK_N * BLOCK_N)
    side = tl.cast(batch_head, tl.int64) * num_queries + rows
    # Beyond the last query P = 2^(S - inf) = 0.
    lse = tl.load(LSE + side, mask=inside, other=float("inf"))
    mu = lse
    if HAS_TS:
        mu = tl.load(MU + side, mask=inside, other=0.0)
    q = load_tile(Q, q_strides, batch, head, first, num_queries, D, BLOCK_M, BLOCK_D, True, TMA)
    tq, g, t = q, q, q
    if HAS_TS and HAS_TQ:
        tq = load_tile(
            TQ, tq_strides, batch, head, first, num_queries, D, BLOCK_M, BLOCK_D, True, TMA
        )
    if HAS_G:
        g = load_tile(G, g_strides, batch, head, first, num_queries, E, BLOCK_M, BLOCK_E, True, TMA)
    if HAS_T:
        t = load_tile(T, t_strides, batch, head, first, num_queries, E, BLOCK_M, BLOCK_E, True, TMA)
    tiles = (q, tq, g, t)
    inputs, strides = (K, V, TK, TV), (k_strides, v_strides, tk_strides, tv_strides)
    place, lengths = (batch, group, first), (num_keys, length)
    if q.dtype == tl.float32:
        none = tl.zeros([BLOCK_M], tl.float32)
        weighed, lost_weighed = (none, none, none, none, none), (none, none, none, none, none)
        weighed, lost_weighed = _weigh(
            weighed, lost_weighed, tiles, lse, mu, inputs, strides, place, lengths,
            (0, whole), scale, exponent,
            D, E, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_E, CAUSAL, HAS_TQ, HAS_TK, HAS_TV, HAS_G, HAS_T,
            False, TMA,
        )  # fmt: skip
        weighed, lost_weighed = _weigh(
            weighed, lost_weighed, tiles, lse, mu, inputs, strides, place, lengths,
            (whole, stop), scale, exponent,
            D, E, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_E, CAUSAL, HAS_TQ, HAS_TK, HAS_TV, HAS_G, HAS_T,
            True, TMA,
        )  # fmt: skip
        mass = weighed[0] + lost_weighed[0]
        inverse = tl.where(mass > 0, 1.0 / tl.where(mass > 0, mass, 1.0), 0.0)
        b = (weighed[2] + lost_weighed[2]) * inverse
        delta = (
            weighed[1]
            + lost_weighed[1]
            + (weighed[3] + lost_weighed[3])
            - b * (weighed[4] + lost_weighed[4])
        )
        delta *= inverse
        tl.store(B + side, b, mask=inside)
        tl.store(DELTA + side, delta, mask=inside)
    else:
        delta = tl.load(DELTA + side, mask=inside, other=0.0)
        b = delta
        if HAS_TS:
            b = tl.load(B + side, mask=inside, other=0.0)
    zero = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    state, lost = (zero, zero), (zero, zero)
    sums = (lse, mu, b, delta)
    state, lost = _query_gradients(
        state, lost, tiles, sums, inputs, strides, place, lengths, (0, whole), scale, exponent,
        D, E, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_E, CAUSAL, HAS_TQ, HAS_TK, HAS_TV, HAS_G, HAS_T,
        False, TMA,
    )  # fmt: skip
    state, lost = _query_gradients(
        state, lost, tiles, sums, inputs, strides, place, lengths, (whole, stop), scale, exponent,
        D, E, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_E, CAUSAL, HAS_TQ, HAS_TK, HAS_TV, HAS_G, HAS_T,
        True, TMA,
    )  # fmt: skip
    dq, dtq = state[0] + lost[0], state[1] + lost[1]
    store_tile(DQ, dq_strides, batch, head, first, num_queries, dq * scale, D, BLOCK_M, BLOCK_D)
    if HAS_TS and HAS_TQ:
        store_tile(
            DTQ, dtq_strides, batch, head, first, num_queries, dtq * scale, D, BLOCK_M, BLOCK_D
        )
