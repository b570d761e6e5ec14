# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
"""The backward kernels: gradients of output (G) and tangent (T) by all six inputs.

Shape legend: M a block of queries, N a block of keys, D head size, E value size.

From LSE and mu of the forward, and two sums per query, b = T . O and delta = G . O + T . tO:

    P = 2^(S - LSE);  W = tS - mu;  X = T V^T - b;  dtS = P X;
    dS = P (G V^T + T tV^T + X W - delta)
    dQ = scale (dS K + dtS tK)    dK = scale (dS^T Q + dtS^T tQ)    dV = P^T G + (P W)^T T
    dtQ = scale dtS K             dtK = scale dtS^T Q               dtV = P^T T

One kernel runs along the keys for the queries' gradients, one along the queries for those of keys
and values: 21 products where 15 would do, no atomics, and the same bits every time. Without T it
is the usual backward through the output. HAS_G and HAS_T say which gradients arrived, HAS_TQ,
HAS_TK and HAS_TV which inputs have a tangent.
"""

import triton
import triton.language as tl

from rcm_kernels.tiles import (
    add_exactly,
    add_product,
    load_tile,
    narrow,
    product,
    store_tile,
    sum_up_product,
)
from rcm_kernels.triton_forward import score_tangent, visible


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


@triton.jit
def _key_gradients(
    state, lost, tiles, inputs, sides, strides, place, num_queries, bounds, scale, exponent,
    D: tl.constexpr, E: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    HAS_TQ: tl.constexpr, HAS_TK: tl.constexpr, HAS_TV: tl.constexpr,
    HAS_G: tl.constexpr, HAS_T: tl.constexpr, OF_KEY: tl.constexpr, OF_VALUE: tl.constexpr,
    CHECK: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """Add what the queries of ``bounds`` contribute; CHECK where the causal order hides some.

    Scores are transposed, (N, M): their products with G, T, Q and tQ need no transposition then.
    """
    HAS_TS: tl.constexpr = HAS_T and (HAS_TQ or HAS_TK)
    dk, dv, dtk, dtv = state
    lost_dk, lost_dv, lost_dtk, lost_dtv = lost
    k, v, tk, tv = tiles
    Q, TQ, G, T = inputs
    LSE, MU, B, DELTA = sides
    q_strides, tq_strides, g_strides, t_strides = strides
    batch, head, first_key = place
    start, stop = bounds
    keys = first_key + tl.arange(0, BLOCK_N)
    for first in tl.range(start, stop, BLOCK_M):
        rows = first + tl.arange(0, BLOCK_M)
        inside = rows < num_queries
        q = load_tile(Q, q_strides, batch, head, first, num_queries, D, BLOCK_M, BLOCK_D, True, TMA)
        # Beyond the last query P = 2^(S - inf) = 0.
        lse = tl.load(LSE + rows, mask=inside, other=float("inf"))
        s = product(k, tl.trans(q)) * exponent
        p = tl.math.exp2(s - lse[None, :])
        if CHECK:
            p = tl.where(keys[:, None] <= rows[None, :], p, 0.0)
        g, t = q, q
        if HAS_G:
            g = load_tile(
                G, g_strides, batch, head, first, num_queries, E, BLOCK_M, BLOCK_E, True, TMA
            )
        if HAS_T:
            t = load_tile(
                T, t_strides, batch, head, first, num_queries, E, BLOCK_M, BLOCK_E, True, TMA
            )
        if HAS_TS:
            tq = q
            if HAS_TQ:
                tq = load_tile(
                    TQ, tq_strides, batch, head, first, num_queries, D, BLOCK_M, BLOCK_D, True, TMA
                )
            mu = tl.load(MU + rows, mask=inside, other=0.0)
            # The tangent of the transposed scores is the same sum, read from the keys' side.
            w = score_tangent(k, q, tk, tq, HAS_TK, HAS_TQ) * scale - mu[None, :]
        if OF_VALUE:
            if HAS_G:
                dv, lost_dv = sum_up_product(dv, lost_dv, narrow(p, k.dtype), g)
            if HAS_TS:
                dv, lost_dv = sum_up_product(dv, lost_dv, narrow(p * w, k.dtype), t)
            if HAS_T and HAS_TV:
                dtv, lost_dtv = sum_up_product(dtv, lost_dtv, narrow(p, k.dtype), t)
        if OF_KEY:
            # From zero: a wgmma whose accumulator starts from something else waits for all others.
            z = weight_gradient(v, g, tv, t, HAS_G, HAS_T and HAS_TV)
            z -= tl.load(DELTA + rows, mask=inside, other=0.0)[None, :]
            if HAS_TS:
                b = tl.load(B + rows, mask=inside, other=0.0)
                x = product(v, tl.trans(t)) - b[None, :]
                z += x * w
                dts = narrow(p * x, k.dtype)
            dk, lost_dk = sum_up_product(dk, lost_dk, narrow(p * z, k.dtype), q)
            if HAS_TS:
                if HAS_TQ:
                    dk, lost_dk = sum_up_product(dk, lost_dk, dts, tq)
                if HAS_TK:
                    dtk, lost_dtk = sum_up_product(dtk, lost_dtk, dts, q)
    return (dk, dv, dtk, dtv), (lost_dk, lost_dv, lost_dtk, lost_dtv)


@triton.jit
def key_gradients(
    Q, K, V, TQ, TK, TV, G, T, LSE, MU, B, DELTA, LENGTHS, DK, DV, DTK, DTV,
    q_strides, k_strides, v_strides, tq_strides, tk_strides, tv_strides, g_strides, t_strides,
    dk_strides, dv_strides, dtk_strides, dtv_strides,
    scale, exponent, num_heads, heads_per_group, num_queries, num_keys,
    D: tl.constexpr, E: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    CAUSAL: tl.constexpr, HAS_TQ: tl.constexpr, HAS_TK: tl.constexpr, HAS_TV: tl.constexpr,
    HAS_G: tl.constexpr, HAS_T: tl.constexpr, OF_KEY: tl.constexpr, OF_VALUE: tl.constexpr,
    TMA: tl.constexpr,
):  # fmt: skip
    """Write dK and dtK (OF_KEY), dV and dtV (OF_VALUE) of one block of keys, over its heads.

    Four accumulators and the factors of three products are more than an SM's registers hold: with a
    gradient of the tangent two launches that compute P and W each are 1.5 times faster than one.
    """
    num_blocks = tl.cdiv(num_keys, BLOCK_N)
    first = tl.program_id(0) % num_blocks * BLOCK_N
    batch_group = tl.program_id(0) // num_blocks
    num_groups = num_heads // heads_per_group
    batch, group = batch_group // num_groups, batch_group % num_groups
    length = num_keys
    if LENGTHS is not None:
        length = tl.minimum(num_keys, tl.load(LENGTHS + batch).to(tl.int32))
    k = load_tile(K, k_strides, batch, group, first, num_keys, D, BLOCK_N, BLOCK_D, True, TMA)
    v = load_tile(V, v_strides, batch, group, first, num_keys, E, BLOCK_N, BLOCK_E, True, TMA)
    tk, tv = k, v
    if HAS_TK:
        tk = load_tile(
            TK, tk_strides, batch, group, first, num_keys, D, BLOCK_N, BLOCK_D, True, TMA
        )
    if HAS_TV:
        tv = load_tile(
            TV, tv_strides, batch, group, first, num_keys, E, BLOCK_N, BLOCK_E, True, TMA
        )
    start, whole, stop = 0, 0, num_queries
    if CAUSAL:
        # Queries before `first` see none of these keys, those from `whole` on see all.
        start = first // BLOCK_M * BLOCK_M
        whole = tl.cdiv(first + BLOCK_N - 1, BLOCK_M) * BLOCK_M
    if first >= length:
        start, whole, stop = 0, 0, 0
    zero_d, zero_e = (
        tl.zeros([BLOCK_N, BLOCK_D], tl.float32),
        tl.zeros([BLOCK_N, BLOCK_E], tl.float32),
    )
    state, lost = (zero_d, zero_e, zero_d, zero_e), (zero_d, zero_e, zero_d, zero_e)
    tiles = (k, v, tk, tv)
    inputs, strides = (Q, TQ, G, T), (q_strides, tq_strides, g_strides, t_strides)
    for member in range(heads_per_group):
        head = group * heads_per_group + member
        side = (tl.cast(batch, tl.int64) * num_heads + head) * num_queries
        sides = (LSE + side, MU + side, B + side, DELTA + side)
        place = (batch, head, first)
        if CAUSAL:
            state, lost = _key_gradients(
                state, lost, tiles, inputs, sides, strides, place, num_queries,
                (start, tl.minimum(whole, stop)), scale, exponent,
                D, E, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_E, HAS_TQ, HAS_TK, HAS_TV, HAS_G, HAS_T,
                OF_KEY, OF_VALUE, True, TMA,
            )  # fmt: skip
        state, lost = _key_gradients(
            state, lost, tiles, inputs, sides, strides, place, num_queries,
            (whole, stop), scale, exponent,
            D, E, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_E, HAS_TQ, HAS_TK, HAS_TV, HAS_G, HAS_T,
            OF_KEY, OF_VALUE, False, TMA,
        )  # fmt: skip
    dk, dv = state[0] + lost[0], state[1] + lost[1]
    dtk, dtv = state[2] + lost[2], state[3] + lost[3]
    # Padding has no gradient; what its rows hold here was computed from padding alone.
    seen = (first + tl.arange(0, BLOCK_N) < length)[:, None]
    if OF_KEY:
        dk = tl.where(seen, dk * scale, 0.0)
        store_tile(DK, dk_strides, batch, group, first, num_keys, dk, D, BLOCK_N, BLOCK_D)
        if HAS_T and HAS_TK:
            dtk = tl.where(seen, dtk * scale, 0.0)
            store_tile(DTK, dtk_strides, batch, group, first, num_keys, dtk, D, BLOCK_N, BLOCK_D)
    if OF_VALUE:
        dv = tl.where(seen, dv, 0.0)
        store_tile(DV, dv_strides, batch, group, first, num_keys, dv, E, BLOCK_N, BLOCK_E)
        if HAS_T and HAS_TV:
            dtv = tl.where(seen, dtv, 0.0)
            store_tile(DTV, dtv_strides, batch, group, first, num_keys, dtv, E, BLOCK_N, BLOCK_E)
