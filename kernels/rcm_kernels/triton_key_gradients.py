# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
"""The kernel of the gradients of keys and values; equations are those of ``triton_backward``."""

import triton
import triton.language as tl

from rcm_kernels.tiles import load_tile, narrow, product, store_tile, sum_up_product
from rcm_kernels.triton_backward import weight_gradient
from rcm_kernels.triton_forward import score_tangent


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
