# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
"""The forward kernel for Hopper GPUs with its own scheduling: one warp loads, two groups multiply.

Shape legend: M = 128 queries of a program, 64 for each consumer; N a block of keys, D head size.

The arithmetic is that of ``triton_forward`` (same centre, rounding and factors), for one case: all
three tangents, no mask, heads of size 64 or 128. A producer warp (``gluon_loads``) fills rings of
K, tK and V, tV by TMA. Two consumers of four warps own 64 rows each and take turns at the tensor
cores: in its turn a consumer issues the three products of block j with V and, behind them, the
three scores of block j + 1; it forms p and h of block j + 1 while the other has its turn.

A program takes every so many-th tile of queries; the loads of the next overlap the end of the last.

Barriers, each waited for with the parity of the phase that must have ended; a fresh barrier counts
as if an odd phase had ended. b counts blocks over all tiles i of a program; block b lies in slot
b % STAGES, in round b // STAGES:

    barrier      arrivals of a phase       awaited by                     parity
    q_full[w]    1 + bytes of Q, tQ        consumer w, before S           i & 1
    q_empty[w]   1, of consumer w          producer, before it loads      (i & 1) ^ 1
    k_full[s]    1 + bytes of K, tK        both consumers, before S       round & 1
    k_empty[s]   2, one of each consumer   producer, before it loads      (round & 1) ^ 1
    v_full[s]    1 + bytes of V, tV        both consumers, before PV      round & 1
    v_empty[s]   2, one of each consumer   producer, before it loads      (round & 1) ^ 1
    turn[0]      1, of consumer 1          consumer 0, before its turn    (b & 1) ^ 1
    turn[1]      1, of consumer 0          consumer 1, before its turn    b & 1

tests/kernels/test_gluon_barriers.py runs this table in random orders.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from rcm_kernels.gluon_loads import ROWS, place_of, produce
from rcm_kernels.gluon_tiles import here, narrow, store
from rcm_kernels.triton_scaling import WEIGHT


@gluon.jit
def _factors(FACTORS, place, heads):
    """Return what V and, beyond it, tV were divided by."""
    factor, tangent_factor = 1.0, 1.0
    if FACTORS is not None:
        batch, head, group, first_row = place
        factors = FACTORS + (batch * (heads[1] // heads[2]) + group) * 2
        factor, tangent_factor = gl.load(factors), gl.load(factors + 1)
    return factor, tangent_factor


@gluon.jit
def _step(
    b,
    next_row,
    w: gl.constexpr,
    q,
    tq,
    state,
    centre,
    k_tiles,
    tk_tiles,
    v_tiles,
    tv_tiles,
    barriers,
    num_keys,
    exponent,
    tangent_scale,
    LOWER: gl.constexpr,
    D: gl.constexpr,
    BLOCK_N: gl.constexpr,
    STAGES: gl.constexpr,
    CHECK: gl.constexpr,
):
    """Add block b of the values to ``state`` and form p and h of block b + 1, from ``next_row``."""
    output, tangent, m, mass, r, p_low, h_low = state
    q_full, q_empty, k_full, k_empty, v_full, v_empty, turn = barriers
    SCORES: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    WIDE: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, 16])
    LEFT: gl.constexpr = gl.DotOperandLayout(0, WIDE, 2)
    DTYPE: gl.constexpr = v_tiles.dtype
    zeros = gl.zeros([ROWS, BLOCK_N], gl.float32, SCORES)
    slot = b % STAGES
    next_slot = (b + 1) % STAGES
    k = k_tiles.index(next_slot).reshape([BLOCK_N, D]).permute([1, 0])
    tk = tk_tiles.index(next_slot).reshape([BLOCK_N, D]).permute([1, 0])
    v = v_tiles.index(slot).reshape([BLOCK_N, D])
    tv = tv_tiles.index(slot).reshape([BLOCK_N, D])
    mbarrier.wait(turn.index(w), (b & 1) ^ (1 - w))
    mbarrier.wait(v_full.index(slot), (b // STAGES) & 1)
    output = warpgroup_mma(p_low, v, output, is_async=True)
    tangent = warpgroup_mma(h_low, v, tangent, is_async=True)
    tangent = warpgroup_mma(p_low, tv, tangent, is_async=True)
    mbarrier.wait(k_full.index(next_slot), ((b + 1) // STAGES) & 1)
    s = warpgroup_mma(q, k, zeros, use_acc=False, is_async=True)
    # While S is multiplied, the registers of p and h become free for tS.
    output, tangent, p_low, h_low = warpgroup_mma_wait(1, deps=(output, tangent, p_low, h_low))
    mbarrier.arrive(v_empty.index(slot))
    ts = warpgroup_mma(tq, k, zeros, use_acc=False, is_async=True)
    # The other may begin to issue: its first product waits behind this one's last.
    mbarrier.arrive(turn.index(1 - w))
    ts = warpgroup_mma(q, tk, ts, is_async=True)
    s = warpgroup_mma_wait(2, deps=(s,))
    if CHECK:
        columns = next_row + here(gl.arange(0, BLOCK_N, gl.SliceLayout(0, SCORES)))
        s = gl.where((columns < num_keys)[None, :], s, float("-inf"))
    new_m = gl.maximum(m, gl.max(s, 1) * exponent - LOWER)
    p = gl.exp2(s * exponent - new_m[:, None])
    fade = gl.exp2(m - new_m)
    p_low, rounded = narrow(p, DTYPE)
    mass = mass * fade + gl.sum(rounded, 1)
    wide_fade = gl.convert_layout(fade, gl.SliceLayout(1, WIDE))[:, None]
    output = output * wide_fade
    tangent = tangent * wide_fade
    ts = warpgroup_mma_wait(0, deps=(ts,))
    mbarrier.arrive(k_empty.index(next_slot))
    h_low, rounded = narrow(p * (ts * tangent_scale - centre[:, None]), DTYPE)
    r = r * fade + gl.sum(rounded, 1)
    p_low = gl.convert_layout(p_low, LEFT)
    h_low = gl.convert_layout(h_low, LEFT)
    return output, tangent, new_m, mass, r, p_low, h_low


@gluon.jit
def _consume(
    w: gl.constexpr,
    buffers,
    barriers,
    outputs,
    strides,
    tiles,
    heads,
    sizes,
    D: gl.constexpr,
    BLOCK_N: gl.constexpr,
    STAGES: gl.constexpr,
):
    """Attend with the 64 queries of consumer ``w`` of every tile to all keys; write O and tO."""
    q_tiles, k_tiles, v_tiles, tq_tiles, tk_tiles, tv_tiles = buffers
    q_full, q_empty, k_full, k_empty, v_full, v_empty, turn = barriers
    num_keys, num_blocks, num_queries, exponent = sizes
    scale = exponent * 0.6931471805599453
    OUT, TO, LSE, MU, FACTORS = outputs
    LOWER: gl.constexpr = 0 if FACTORS is None else WEIGHT
    first_tile, num_mine, stride = tiles
    SCORES: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    WIDE: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, 16])
    LEFT: gl.constexpr = gl.DotOperandLayout(0, WIDE, 2)
    score_rows: gl.constexpr = gl.SliceLayout(1, SCORES)
    wide_rows: gl.constexpr = gl.SliceLayout(1, WIDE)
    DTYPE: gl.constexpr = v_tiles.dtype
    zeros = gl.zeros([ROWS, BLOCK_N], gl.float32, SCORES)

    for i in range(num_mine):
        first = i * num_blocks
        last = first + num_blocks - 1
        mbarrier.wait(q_full.index(w), i & 1)
        q = q_tiles.index(w).reshape([ROWS, D])
        tq = tq_tiles.index(w).reshape([ROWS, D])
        slot = first % STAGES
        mbarrier.wait(k_full.index(slot), (first // STAGES) & 1)
        k = k_tiles.index(slot).reshape([BLOCK_N, D]).permute([1, 0])
        tk = tk_tiles.index(slot).reshape([BLOCK_N, D]).permute([1, 0])
        s = warpgroup_mma(q, k, zeros, use_acc=False, is_async=True)
        ts = warpgroup_mma(tq, k, zeros, use_acc=False, is_async=True)
        ts = warpgroup_mma(q, tk, ts, is_async=True)
        s, ts = warpgroup_mma_wait(0, deps=(s, ts))
        mbarrier.arrive(k_empty.index(slot))
        if num_keys < BLOCK_N:
            columns = here(gl.arange(0, BLOCK_N, gl.SliceLayout(0, SCORES)))
            s = gl.where((columns < num_keys)[None, :], s, float("-inf"))
        m = gl.max(s, 1) * exponent - LOWER
        p = gl.exp2(s * exponent - m[:, None])
        place = place_of(first_tile + i * stride, heads)
        factor, tangent_factor = _factors(FACTORS, place, heads)
        tangent_scale = scale / tangent_factor
        centre = gl.sum(p * ts, 1) * tangent_scale / gl.sum(p, 1)
        p_low, rounded = narrow(p, DTYPE)
        mass = gl.sum(rounded, 1)
        h_low, rounded = narrow(p * (ts * tangent_scale - centre[:, None]), DTYPE)
        r = gl.sum(rounded, 1)
        p_low = gl.convert_layout(p_low, LEFT)
        h_low = gl.convert_layout(h_low, LEFT)
        output = gl.zeros([ROWS, D], gl.float32, WIDE)
        tangent = gl.zeros([ROWS, D], gl.float32, WIDE)

        state = (output, tangent, m, mass, r, p_low, h_low)
        # All blocks but the last are whole.
        for j in range(num_blocks - 2):
            state = _step(
                first + j, (j + 1) * BLOCK_N, w, q, tq, state, centre, k_tiles, tk_tiles, v_tiles,
                tv_tiles, barriers, num_keys, exponent, tangent_scale,
                LOWER, D, BLOCK_N, STAGES, False,
            )  # fmt: skip
        if num_blocks > 1:
            state = _step(
                last - 1, (num_blocks - 1) * BLOCK_N, w, q, tq, state, centre, k_tiles, tk_tiles,
                v_tiles, tv_tiles, barriers, num_keys, exponent, tangent_scale,
                LOWER, D, BLOCK_N, STAGES, True,
            )  # fmt: skip
        output, tangent, m, mass, r, p_low, h_low = state

        mbarrier.arrive(q_empty.index(w))
        slot = last % STAGES
        mbarrier.wait(turn.index(w), (last & 1) ^ (1 - w))
        mbarrier.wait(v_full.index(slot), (last // STAGES) & 1)
        v = v_tiles.index(slot).reshape([BLOCK_N, D])
        tv = tv_tiles.index(slot).reshape([BLOCK_N, D])
        output = warpgroup_mma(p_low, v, output, is_async=True)
        tangent = warpgroup_mma(h_low, v, tangent, is_async=True)
        tangent = warpgroup_mma(p_low, tv, tangent, is_async=True)
        mbarrier.arrive(turn.index(1 - w))
        output, tangent = warpgroup_mma_wait(0, deps=(output, tangent))
        mbarrier.arrive(v_empty.index(slot))

        o_strides, to_strides = strides
        place = place_of(first_tile + i * stride, heads)
        factor, tangent_factor = _factors(FACTORS, place, heads)
        batch, head, group, first_row = place
        inverse = 1.0 / mass
        rho = r * inverse * tangent_factor
        wide_inverse = gl.convert_layout(inverse * factor, wide_rows)[:, None]
        wide_rho = gl.convert_layout(rho, wide_rows)[:, None]
        output = output * wide_inverse
        tangent = tangent * (wide_inverse * tangent_factor) - wide_rho * output
        first_row = first_row + w * ROWS
        place = (batch, head, first_row, num_queries)
        store(OUT, output, o_strides, place, D)
        store(TO, tangent, to_strides, place, D)
        side = first_row + gl.arange(0, ROWS, score_rows)
        seen = side < num_queries
        side = (gl.cast(batch, gl.int64) * heads[1] + head) * num_queries + side
        gl.store(LSE + side, m + gl.log2(mass), mask=seen)
        gl.store(MU + side, rho + centre * tangent_factor, mask=seen)


# A new length or number of heads compiles nothing.
@gluon.jit(
    do_not_specialize=["num_tiles", "num_heads", "heads_per_group", "num_queries", "num_keys"]
)
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
    FACTORS,
    o_strides,
    to_strides,
    exponent,
    num_tiles,
    num_heads,
    heads_per_group,
    num_queries,
    num_keys,
    D: gl.constexpr,
    BLOCK_N: gl.constexpr,
    STAGES: gl.constexpr,
):
    """Write O, tO, LSE = log2 sum 2^s and mu = rowsum(P tS) for tiles of 128 queries.

    FACTORS (B, G, 2) is there where V and TV are V' and tV' of ``triton_scaling``.
    """
    num_row_blocks = gl.cdiv(num_queries, 2 * ROWS)
    heads = (num_row_blocks, num_heads, heads_per_group)
    num_mine = gl.cdiv(num_tiles - gl.program_id(0), gl.num_programs(0))
    tiles = (gl.program_id(0), num_mine, gl.num_programs(0))
    num_blocks = gl.cdiv(num_keys, BLOCK_N)

    q = gl.allocate_shared_memory(Q.dtype, [2] + Q.block_type.shape, Q.layout)
    tq = gl.allocate_shared_memory(Q.dtype, [2] + Q.block_type.shape, Q.layout)
    k = gl.allocate_shared_memory(K.dtype, [STAGES] + K.block_type.shape, K.layout)
    tk = gl.allocate_shared_memory(K.dtype, [STAGES] + K.block_type.shape, K.layout)
    v = gl.allocate_shared_memory(V.dtype, [STAGES] + V.block_type.shape, V.layout)
    tv = gl.allocate_shared_memory(V.dtype, [STAGES] + V.block_type.shape, V.layout)
    q_full = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    q_empty = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    k_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    k_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    v_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    v_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    turn = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(STAGES):
        mbarrier.init(k_full.index(slot), count=1)
        mbarrier.init(v_full.index(slot), count=1)
        mbarrier.init(k_empty.index(slot), count=2)
        mbarrier.init(v_empty.index(slot), count=2)
    for w in gl.static_range(2):
        mbarrier.init(q_full.index(w), count=1)
        mbarrier.init(q_empty.index(w), count=1)
        mbarrier.init(turn.index(w), count=1)

    inputs = (Q, K, V, TQ, TK, TV)
    buffers = (q, k, v, tq, tk, tv)
    barriers = (q_full, q_empty, k_full, k_empty, v_full, v_empty, turn)
    outputs = (OUT, TO, LSE, MU, FACTORS)
    strides = (o_strides, to_strides)
    sizes = (num_keys, num_blocks, num_queries, exponent)
    gl.warp_specialize(
        [
            (_consume, (0, buffers, barriers, outputs, strides, tiles, heads, sizes,
                        D, BLOCK_N, STAGES)),
            (_consume, (1, buffers, barriers, outputs, strides, tiles, heads, sizes,
                        D, BLOCK_N, STAGES)),
            (produce, (inputs, buffers, barriers, tiles, heads, num_blocks, BLOCK_N, STAGES)),
        ],
        [4, 1],
        [240, 24],
    )  # fmt: skip
