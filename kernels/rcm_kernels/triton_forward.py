# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
"""The forward kernel: output and tangent in one pass over the keys, two wide accumulators.

Shape legend: M a block of queries, N a block of keys, D head size, E value size.

With p = 2^(s - m), tS the tangent of the scores and c a constant per row:

    h = p (tS - c);   O = sum p V / l;   tO = (sum h V + sum p tV) / l - (r / l) O

for l = sum p and r = sum h, exact for any c. Three choices keep 16-bit operands accurate, against
publishing h and p rounded and l and r not: c is the mean of tS over the first block of keys, r sums
the h and l the p that the tensor cores see. The largest error of the tangent over iid, aligned,
offset, biased and sharp inputs falls from 4.5e-3 to under 2.1e-3 (tests/kernels).

p and h are rounded to the dtype of V: float16 where the other inputs are bfloat16 and the values
went through ``triton_scaling``. m is then lower by WEIGHT, which makes p' of p, and tS has another
factor, so that the loop has no more to do; the end multiplies by FACTORS.
"""

import triton
import triton.language as tl

from rcm_kernels.tiles import (
    add_product,
    load_tile,
    product,
    rounded,
    store_tile,
    sum_up,
    sum_up_product,
)
from rcm_kernels.triton_scaling import WEIGHT

CENTRE_KEYS = tl.constexpr(128)  # of a float32 centre


@triton.jit
def score_tangent(q, k, tq, tk, HAS_TQ: tl.constexpr, HAS_TK: tl.constexpr):
    """Return tQ K^T + Q tK^T for rows q and columns k, not scaled."""
    if HAS_TQ and HAS_TK:
        ts = add_product(product(tq, tl.trans(k)), q, tl.trans(tk))
    elif HAS_TQ:
        ts = product(tq, tl.trans(k))
    else:
        ts = product(q, tl.trans(tk))
    return ts


@triton.jit
def visible(rows, columns, length, CAUSAL: tl.constexpr):
    """Tell which keys are seen: [rows, columns] or [1, columns]."""
    seen = (columns < length)[None, :]
    if CAUSAL:
        seen = seen & (columns[None, :] <= rows[:, None])
    return seen


@triton.jit
def _factors(FACTORS, batch_group):
    """Return what V and, beyond it, tV were divided by."""
    factor, tangent_factor = 1.0, 1.0
    if FACTORS is not None:
        factor = tl.load(FACTORS + batch_group * 2)
        tangent_factor = tl.load(FACTORS + batch_group * 2 + 1)
    return factor, tangent_factor


@triton.jit
def _weigh_block(
    q, tq, keys, strides, where, rows, first, length, scale,
    D: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, HAS_TQ: tl.constexpr, HAS_TK: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """Return the highest score of a block of keys and, over it, sum e^s and sum e^s tS."""
    K, TK = keys
    k_strides, tk_strides = strides
    batch, group, num_keys = where
    k = load_tile(K, k_strides, batch, group, first, num_keys, D, BLOCK_N, BLOCK_D, True, TMA)
    tk = k
    if HAS_TK:
        tk = load_tile(
            TK, tk_strides, batch, group, first, num_keys, D, BLOCK_N, BLOCK_D, True, TMA
        )
    seen = visible(rows, first + tl.arange(0, BLOCK_N), length, CAUSAL)
    s = tl.where(seen, product(q, tl.trans(k)) * scale, float("-inf"))
    highest = tl.maximum(tl.max(s, 1), -1e30)
    weight = tl.exp(s - highest[:, None])
    ts = score_tangent(q, k, tq, tk, HAS_TQ, HAS_TK)
    return highest, tl.sum(weight, 1), tl.sum(weight * ts, 1)


@triton.jit
def whole_sums(state, lost, DTYPE: tl.constexpr):
    """Add what rounding lost; in float64 for float32 inputs, whose last subtraction cancels."""
    output, tangent, m, mass, r = state
    lost_output, lost_tangent, lost_mass, lost_r = lost
    if tl.float32 == DTYPE:
        output = output.to(tl.float64) + lost_output
        tangent = tangent.to(tl.float64) + lost_tangent
        m = m.to(tl.float64)
        mass = mass.to(tl.float64) + lost_mass
        r = r.to(tl.float64) + lost_r
    return output, tangent, m, mass, r


@triton.jit
def _attend(
    state,
    lost,
    q,
    tq,
    centre,
    inputs,
    strides,
    place,
    lengths,
    bounds,
    tangent_scale,
    exponent,
    LOWER: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CAUSAL: tl.constexpr,
    HAS_TQ: tl.constexpr,
    HAS_TK: tl.constexpr,
    HAS_TV: tl.constexpr,
    CHECK: tl.constexpr,
    TMA: tl.constexpr,
):
    """Take the keys of ``bounds`` into ``state``; CHECK where some are hidden.

    m is the highest score less LOWER.
    """
    output, tangent, m, mass, r = state
    lost_output, lost_tangent, lost_mass, lost_r = lost
    K, V, TK, TV = inputs
    k_strides, v_strides, tk_strides, tv_strides = strides
    batch, group, first_row = place
    num_keys, length = lengths
    start, stop = bounds
    PRODUCTS: tl.constexpr = V.dtype if TMA else V.dtype.element_ty
    rows = first_row + tl.arange(0, BLOCK_M)
    for first in tl.range(start, stop, BLOCK_N):
        k = load_tile(K, k_strides, batch, group, first, num_keys, D, BLOCK_N, BLOCK_D, CHECK, TMA)
        s = product(q, tl.trans(k))
        if HAS_TQ or HAS_TK:
            tk = k
            if HAS_TK:
                tk = load_tile(
                    TK, tk_strides, batch, group, first, num_keys, D, BLOCK_N, BLOCK_D, CHECK, TMA
                )
            ts = score_tangent(q, k, tq, tk, HAS_TQ, HAS_TK)
        if CHECK:
            seen = visible(rows, first + tl.arange(0, BLOCK_N), length, CAUSAL)
            s = tl.where(seen, s, float("-inf"))
        new_m = tl.maximum(m, tl.max(s, 1) * exponent - LOWER)
        p = tl.math.exp2(s * exponent - new_m[:, None])
        fade = tl.math.exp2(m - new_m)
        p_low, p_wide = rounded(p, PRODUCTS)
        if q.dtype == tl.float32:
            lost_mass, lost_r = lost_mass * fade, lost_r * fade
            lost_output, lost_tangent = lost_output * fade[:, None], lost_tangent * fade[:, None]
        mass, lost_mass = sum_up(mass * fade, lost_mass, tl.sum(p_wide, 1), q.dtype)
        output = output * fade[:, None]
        m = new_m
        if HAS_TQ or HAS_TK:
            h_low, h_wide = rounded(p * (ts * tangent_scale - centre[:, None]), PRODUCTS)
            r, lost_r = sum_up(r * fade, lost_r, tl.sum(h_wide, 1), q.dtype)
        v = load_tile(V, v_strides, batch, group, first, num_keys, E, BLOCK_N, BLOCK_E, CHECK, TMA)
        output, lost_output = sum_up_product(output, lost_output, p_low, v)
        if HAS_TQ or HAS_TK or HAS_TV:
            tangent = tangent * fade[:, None]
        if HAS_TQ or HAS_TK:
            tangent, lost_tangent = sum_up_product(tangent, lost_tangent, h_low, v)
        if HAS_TV:
            tv = load_tile(
                TV, tv_strides, batch, group, first, num_keys, E, BLOCK_N, BLOCK_E, CHECK, TMA
            )
            tangent, lost_tangent = sum_up_product(tangent, lost_tangent, p_low, tv)
    return (output, tangent, m, mass, r), (lost_output, lost_tangent, lost_mass, lost_r)


@triton.jit
def attention_forward(
    Q,
    K,
    V,
    TQ,
    TK,
    TV,
    OUT,
    TO,
    LSE,
    MU,
    LENGTHS,
    FACTORS,
    q_strides,
    k_strides,
    v_strides,
    tq_strides,
    tk_strides,
    tv_strides,
    o_strides,
    to_strides,
    scale,
    exponent,
    num_heads,
    heads_per_group,
    num_queries,
    num_keys,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CAUSAL: tl.constexpr,
    HAS_TQ: tl.constexpr,
    HAS_TK: tl.constexpr,
    HAS_TV: tl.constexpr,
    TMA: tl.constexpr,
):
    """Write O, tO, LSE = log2 sum 2^s and mu = rowsum(P tS) for one block of queries.

    LSE is +inf, and the rest zero, where a query sees no key. ``exponent`` is scale / log(2).
    FACTORS (B, G, 2) is there where V and TV are V' and tV' of ``triton_scaling``.
    """
    HAS_TS: tl.constexpr = HAS_TQ or HAS_TK
    num_blocks = tl.cdiv(num_queries, BLOCK_M)
    block = tl.program_id(0) % num_blocks
    if CAUSAL:
        block = num_blocks - 1 - block  # the longest rows first
    batch_head = tl.program_id(0) // num_blocks
    batch = batch_head // num_heads
    head = batch_head % num_heads
    group = head // heads_per_group
    first_row = block * BLOCK_M
    rows = first_row + tl.arange(0, BLOCK_M)
    length = num_keys
    if LENGTHS is not None:
        length = tl.minimum(num_keys, tl.load(LENGTHS + batch).to(tl.int32))
    stop = length
    if CAUSAL:
        stop = tl.minimum(length, first_row + BLOCK_M)
    # Blocks before `whole` are seen by every row, whole.
    whole = length // BLOCK_N * BLOCK_N
    if CAUSAL:
        whole = tl.minimum(whole, (first_row + 1) // BLOCK_N * BLOCK_N)
    LOWER: tl.constexpr = 0 if FACTORS is None else WEIGHT
    batch_group = batch * (num_heads // heads_per_group) + group
    _, tangent_factor = _factors(FACTORS, batch_group)
    tangent_scale = scale / tangent_factor
    q = load_tile(Q, q_strides, batch, head, first_row, num_queries, D, BLOCK_M, BLOCK_D, True, TMA)
    tq = q
    if HAS_TQ:
        tq = load_tile(
            TQ, tq_strides, batch, head, first_row, num_queries, D, BLOCK_M, BLOCK_D, True, TMA
        )
    centre = tl.zeros([BLOCK_M], tl.float32)
    if HAS_TS:
        keys, key_strides, where = (K, TK), (k_strides, tk_strides), (batch, group, num_keys)
        highest, total, moved = _weigh_block(
            q, tq, keys, key_strides, where, rows, 0, length, scale,
            D, BLOCK_N, BLOCK_D, CAUSAL, HAS_TQ, HAS_TK, TMA,
        )  # fmt: skip
        if q.dtype == tl.float32:
            # Its last bits show how far the centre is from the mean: more keys come nearer.
            for first in tl.range(BLOCK_N, tl.minimum(length, CENTRE_KEYS), BLOCK_N):
                block_highest, block_total, block_moved = _weigh_block(
                    q, tq, keys, key_strides, where, rows, first, length, scale,
                    D, BLOCK_N, BLOCK_D, CAUSAL, HAS_TQ, HAS_TK, TMA,
                )  # fmt: skip
                new = tl.maximum(highest, block_highest)
                fade, block_fade = tl.exp(highest - new), tl.exp(block_highest - new)
                total = total * fade + block_total * block_fade
                moved = moved * fade + block_moved * block_fade
                highest = new
        mean = moved * tangent_scale / tl.where(total > 0, total, 1.0)
        centre = tl.where(total > 0, mean, 0.0)
    state = (
        tl.zeros([BLOCK_M, BLOCK_E], tl.float32),
        tl.zeros([BLOCK_M, BLOCK_E], tl.float32),
        tl.full([BLOCK_M], float("-inf"), tl.float32),
        tl.zeros([BLOCK_M], tl.float32),
        tl.zeros([BLOCK_M], tl.float32),
    )
    lost = (
        tl.zeros([BLOCK_M, BLOCK_E], tl.float32),
        tl.zeros([BLOCK_M, BLOCK_E], tl.float32),
        tl.zeros([BLOCK_M], tl.float32),
        tl.zeros([BLOCK_M], tl.float32),
    )
    inputs = (K, V, TK, TV)
    strides = (k_strides, v_strides, tk_strides, tv_strides)
    place = (batch, group, first_row)
    lengths = (num_keys, length)
    state, lost = _attend(
        state, lost, q, tq, centre, inputs, strides, place, lengths, (0, whole),
        tangent_scale, exponent, LOWER, D, E, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_E, CAUSAL,
        HAS_TQ, HAS_TK, HAS_TV, False, TMA,
    )  # fmt: skip
    state, lost = _attend(
        state, lost, q, tq, centre, inputs, strides, place, lengths, (whole, stop),
        tangent_scale, exponent, LOWER, D, E, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_E, CAUSAL,
        HAS_TQ, HAS_TK, HAS_TV, True, TMA,
    )  # fmt: skip
    factor, tangent_factor = _factors(FACTORS, batch_group)  # not kept in registers meanwhile
    output, tangent, m, mass, r = whole_sums(state, lost, q.dtype)
    some = mass > 0
    inverse = tl.where(some, 1.0 / tl.where(some, mass, 1.0), 0.0)
    output = output * (inverse * factor)[:, None]
    store_tile(OUT, o_strides, batch, head, first_row, num_queries, output, E, BLOCK_M, BLOCK_E)
    side = tl.cast(batch_head, tl.int64) * num_queries + rows
    lse = tl.where(some, m + tl.math.log2(tl.where(some, mass, 1.0)), float("inf"))
    tl.store(LSE + side, lse.to(tl.float32), mask=rows < num_queries)
    if HAS_TS or HAS_TV:
        rho = r * inverse * tangent_factor
        back = inverse * (factor * tangent_factor)
        tangent = tangent * back[:, None] - rho[:, None] * output
        store_tile(
            TO, to_strides, batch, head, first_row, num_queries, tangent, E, BLOCK_M, BLOCK_E
        )
        mean = tl.where(some, rho + centre * tangent_factor, 0.0)
        tl.store(MU + side, mean.to(tl.float32), mask=rows < num_queries)
