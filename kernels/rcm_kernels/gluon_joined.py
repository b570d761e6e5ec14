# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
"""An experiment beside gluon_forward.py: K and tK lie together, Q [K | tK]^T is one product.

A product of twice the width reads each row of Q once for two scores: less of shared memory's
bandwidth. What follows is as there.

Shape legend: M = 128 queries of a program, 64 for each consumer; N a block of keys, D head size.

The arithmetic is that of ``triton_forward`` (same centre, same rounding), for one case: all three
tangents, no mask, heads of size 64 or 128. A producer warp fills rings of K, tK and V, tV by TMA.
Two consumers of four warps own 64 rows each and take turns at the tensor cores: in its turn a
consumer issues the three products of block j with V and, behind them, the three scores of block
j + 1; it forms p and h of block j + 1 while the other has its turn.

Barriers, each waited for with the parity of the phase that must have ended; a fresh barrier counts
as if an odd phase had ended. Block j lies in slot j % STAGES, in round j // STAGES:

    barrier      arrivals of a phase       awaited by                     parity of block j
    q_full       1 + bytes of Q, tQ        both consumers, once           0
    k_full[s]    1 + bytes of K, tK        both consumers, before S       round & 1
    k_empty[s]   2, one of each consumer   producer, before it loads      (round & 1) ^ 1
    v_full[s]    1 + bytes of V, tV        both consumers, before PV      round & 1
    v_empty[s]   2, one of each consumer   producer, before it loads      (round & 1) ^ 1
    turn[0]      1, of consumer 1          consumer 0, before its turn    (j & 1) ^ 1
    turn[1]      1, of consumer 0          consumer 1, before its turn    j & 1

tests/kernels/test_gluon_barriers.py runs this table in random orders.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

# Triton 3.8 renamed it.
_copy_in = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared

ROWS = gl.constexpr(64)  # of a consumer: one warpgroup's share of a wgmma


@gluon.jit
def _produce(
    inputs,
    buffers,
    barriers,
    place,
    num_blocks,
    BLOCK_N: gl.constexpr,
    STAGES: gl.constexpr,
    C: gl.constexpr,
):
    """Load the queries once, then every block of keys and values into its slot."""
    Q, K, V, TQ, TK, TV = inputs
    q, k, v, tq, tk, tv = buffers
    q_full, k_full, k_empty, v_full, v_empty, turn = barriers
    batch, head, group, first_row = place
    mbarrier.expect(q_full, 4 * C * Q.block_type.nbytes)
    for w in gl.static_range(2):
        for c in gl.static_range(C):
            _copy_in(Q, [batch, head, first_row + w * ROWS, c * 64], q_full, q.index(w * C + c))
            _copy_in(TQ, [batch, head, first_row + w * ROWS, c * 64], q_full, tq.index(w * C + c))
    for j in range(num_blocks):
        slot = j % STAGES
        free = ((j // STAGES) & 1) ^ 1
        mbarrier.wait(k_empty.index(slot), free)
        mbarrier.expect(k_full.index(slot), 2 * C * K.block_type.nbytes)
        for c in gl.static_range(C):
            part = (slot * C + c) * 2
            coordinates = [batch, group, j * BLOCK_N, c * 64]
            _copy_in(K, coordinates, k_full.index(slot), k.index(part))
            _copy_in(TK, coordinates, k_full.index(slot), k.index(part + 1))
        mbarrier.wait(v_empty.index(slot), free)
        mbarrier.expect(v_full.index(slot), 2 * V.block_type.nbytes)
        _copy_in(V, [batch, group, j * BLOCK_N, 0], v_full.index(slot), v.index(slot))
        _copy_in(TV, [batch, group, j * BLOCK_N, 0], v_full.index(slot), tv.index(slot))


@gluon.jit
def _narrow(x, DTYPE: gl.constexpr):
    """Round float32 to ``DTYPE``; return that and the same in float32.

    Left to itself Triton 3.6 converts one number at a time, on the unit that exp2 needs.
    """
    if gl.bfloat16 == DTYPE:
        pair = gl.inline_asm_elementwise(
            "cvt.rn.bf16x2.f32 $0, $4, $3; shl.b32 $1, $0, 16; and.b32 $2, $0, 0xffff0000;",
            "=r,=f,=f,f,f", [x], dtype=(gl.bfloat16, gl.float32), is_pure=True, pack=2,
        )  # fmt: skip
    else:
        pair = gl.inline_asm_elementwise(
            "{ .reg .b16 low, high; cvt.rn.f16x2.f32 $0, $4, $3; mov.b32 {low, high}, $0;"
            " cvt.f32.f16 $1, low; cvt.f32.f16 $2, high; }",
            "=r,=f,=f,f,f", [x], dtype=(gl.float16, gl.float32), is_pure=True, pack=2,
        )  # fmt: skip
    return pair


@gluon.jit
def _halves(both, BLOCK_N: gl.constexpr):
    SCORES: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    s, ts = gl.split(both.reshape([ROWS, 2, BLOCK_N]).permute([0, 2, 1]))
    s = gl.convert_layout(s, SCORES, assert_trivial=True)
    # In registers of its own: ptxas serializes wgmma where an accumulator is part of another.
    ts = gl.convert_layout(ts, SCORES, assert_trivial=True) + 0.0
    return s, ts


@gluon.jit
def _scores(q, kk, w: gl.constexpr, slot, BLOCK_N: gl.constexpr, D: gl.constexpr):
    BOTH: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 2 * BLOCK_N, 16])
    both = gl.zeros([ROWS, 2 * BLOCK_N], gl.float32, BOTH)
    for c in gl.static_range(D // 64):
        qc = q.index(w * (D // 64) + c).reshape([ROWS, 64])
        kc = kk.index(slot * (D // 64) + c).reshape([2 * BLOCK_N, 64]).permute([1, 0])
        both = warpgroup_mma(qc, kc, both, use_acc=c > 0, is_async=True)
    both = warpgroup_mma_wait(0, deps=(both,))
    return _halves(both, BLOCK_N)


@gluon.jit
def _more(tq, k, ts, w: gl.constexpr, slot, BLOCK_N: gl.constexpr, D: gl.constexpr):
    for c in gl.static_range(D // 64):
        qc = tq.index(w * (D // 64) + c).reshape([ROWS, 64])
        kc = k.index((slot * (D // 64) + c) * 2).reshape([BLOCK_N, 64]).permute([1, 0])
        ts = warpgroup_mma(qc, kc, ts, is_async=True)
    return ts


@gluon.jit
def _step(
    j,
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
    scale,
    D: gl.constexpr,
    BLOCK_N: gl.constexpr,
    STAGES: gl.constexpr,
    DRAIN: gl.constexpr,
    TURNS: gl.constexpr,
    LEAD: gl.constexpr,
    CHECK: gl.constexpr,
):
    """Add block j of the values to ``state`` and form p and h of block j + 1."""
    output, tangent, m, mass, r, p_low, h_low = state
    q_full, k_full, k_empty, v_full, v_empty, turn = barriers
    SCORES: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    WIDE: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, 16])
    LEFT: gl.constexpr = gl.DotOperandLayout(0, WIDE, 2)
    DTYPE: gl.constexpr = k_tiles.dtype
    scale_log2 = scale * 1.4426950408889634
    slot = j % STAGES
    next_slot = (j + 1) % STAGES
    v = v_tiles.index(slot).reshape([BLOCK_N, D])
    tv = tv_tiles.index(slot).reshape([BLOCK_N, D])
    if TURNS:
        mbarrier.wait(turn.index(w), (j & 1) ^ (1 - w))
    mbarrier.wait(v_full.index(slot), (j // STAGES) & 1)
    output = warpgroup_mma(p_low, v, output, is_async=True)
    tangent = warpgroup_mma(h_low, v, tangent, is_async=True)
    tangent = warpgroup_mma(p_low, tv, tangent, is_async=True)
    if TURNS and LEAD == 3:
        mbarrier.arrive(turn.index(1 - w))
    if DRAIN:
        output, tangent, p_low, h_low = warpgroup_mma_wait(0, deps=(output, tangent, p_low, h_low))
        mbarrier.arrive(v_empty.index(slot))
    mbarrier.wait(k_full.index(next_slot), ((j + 1) // STAGES) & 1)
    BOTH: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 2 * BLOCK_N, 16])
    both = gl.zeros([ROWS, 2 * BLOCK_N], gl.float32, BOTH)
    for c in gl.static_range(D // 64):
        qc = q.index(w * (D // 64) + c).reshape([ROWS, 64])
        kc = tk_tiles.index(next_slot * (D // 64) + c).reshape([2 * BLOCK_N, 64]).permute([1, 0])
        both = warpgroup_mma(qc, kc, both, use_acc=c > 0, is_async=True)
    if not DRAIN:
        output, tangent, p_low, h_low = warpgroup_mma_wait(
            D // 64, deps=(output, tangent, p_low, h_low)
        )
        mbarrier.arrive(v_empty.index(slot))
    if TURNS and LEAD == 1:
        mbarrier.arrive(turn.index(1 - w))
    both = warpgroup_mma_wait(0, deps=(both,))
    s, ts = _halves(both, BLOCK_N)
    ts = _more(tq, k_tiles, ts, w, next_slot, BLOCK_N, D)
    if TURNS and LEAD == 0:
        mbarrier.arrive(turn.index(1 - w))
    if CHECK:
        columns = (j + 1) * BLOCK_N + gl.arange(0, BLOCK_N, gl.SliceLayout(0, SCORES))
        s = gl.where((columns < num_keys)[None, :], s, float("-inf"))
    new_m = gl.maximum(m, gl.max(s, 1) * scale_log2)
    p = gl.exp2(s * scale_log2 - new_m[:, None])
    fade = gl.exp2(m - new_m)
    p_low, rounded = _narrow(p, DTYPE)
    mass = mass * fade + gl.sum(rounded, 1)
    wide_fade = gl.convert_layout(fade, gl.SliceLayout(1, WIDE))[:, None]
    output = output * wide_fade
    tangent = tangent * wide_fade
    ts = warpgroup_mma_wait(0, deps=(ts,))
    mbarrier.arrive(k_empty.index(next_slot))
    h_low, rounded = _narrow(p * (ts * scale - centre[:, None]), DTYPE)
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
    place,
    sizes,
    D: gl.constexpr,
    BLOCK_N: gl.constexpr,
    STAGES: gl.constexpr,
    Q_IN_REGISTERS: gl.constexpr,
    DRAIN: gl.constexpr,
    TURNS: gl.constexpr,
    LEAD: gl.constexpr,
):
    """Attend with the 64 queries of consumer ``w`` to all keys and write what comes out."""
    q_tiles, k_tiles, v_tiles, tq_tiles, tk_tiles, tv_tiles = buffers
    q_full, k_full, k_empty, v_full, v_empty, turn = barriers
    num_keys, num_blocks, num_queries, num_heads, scale = sizes
    SCORES: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    WIDE: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, 16])
    LEFT: gl.constexpr = gl.DotOperandLayout(0, WIDE, 2)
    score_rows: gl.constexpr = gl.SliceLayout(1, SCORES)
    wide_rows: gl.constexpr = gl.SliceLayout(1, WIDE)
    DTYPE: gl.constexpr = q_tiles.dtype
    scale_log2 = scale * 1.4426950408889634
    columns = gl.arange(0, BLOCK_N, gl.SliceLayout(0, SCORES))

    mbarrier.wait(q_full, 0)

    mbarrier.wait(k_full.index(0), 0)
    s, ts = _scores(q_tiles, tk_tiles, w, 0, BLOCK_N, D)
    ts = _more(tq_tiles, k_tiles, ts, w, 0, BLOCK_N, D)
    ts = warpgroup_mma_wait(0, deps=(ts,))
    mbarrier.arrive(k_empty.index(0))
    if num_keys < BLOCK_N:
        s = gl.where((columns < num_keys)[None, :], s, float("-inf"))
    m = gl.max(s, 1) * scale_log2
    p = gl.exp2(s * scale_log2 - m[:, None])
    centre = gl.sum(p * ts, 1) * scale / gl.sum(p, 1)
    p_low, rounded = _narrow(p, DTYPE)
    mass = gl.sum(rounded, 1)
    h_low, rounded = _narrow(p * (ts * scale - centre[:, None]), DTYPE)
    r = gl.sum(rounded, 1)
    p_low = gl.convert_layout(p_low, LEFT)
    h_low = gl.convert_layout(h_low, LEFT)
    output = gl.zeros([ROWS, D], gl.float32, WIDE)
    tangent = gl.zeros([ROWS, D], gl.float32, WIDE)

    state = (output, tangent, m, mass, r, p_low, h_low)
    # All blocks but the last are whole.
    for j in range(num_blocks - 2):
        state = _step(
            j, w, q_tiles, tq_tiles, state, centre, k_tiles, tk_tiles, v_tiles, tv_tiles, barriers,
            num_keys, scale, D, BLOCK_N, STAGES, DRAIN, TURNS, LEAD, False,
        )  # fmt: skip
    if num_blocks > 1:
        state = _step(
            num_blocks - 2, w, q_tiles, tq_tiles, state, centre, k_tiles, tk_tiles, v_tiles,
            tv_tiles, barriers, num_keys, scale, D, BLOCK_N, STAGES, DRAIN, TURNS, LEAD, True,
        )  # fmt: skip
    output, tangent, m, mass, r, p_low, h_low = state

    last = num_blocks - 1
    slot = last % STAGES
    if TURNS:
        mbarrier.wait(turn.index(w), (last & 1) ^ (1 - w))
    mbarrier.wait(v_full.index(slot), (last // STAGES) & 1)
    v = v_tiles.index(slot).reshape([BLOCK_N, D])
    tv = tv_tiles.index(slot).reshape([BLOCK_N, D])
    output = warpgroup_mma(p_low, v, output, is_async=True)
    tangent = warpgroup_mma(h_low, v, tangent, is_async=True)
    tangent = warpgroup_mma(p_low, tv, tangent, is_async=True)
    if TURNS:
        mbarrier.arrive(turn.index(1 - w))
    output, tangent = warpgroup_mma_wait(0, deps=(output, tangent))

    OUT, TO, LSE, MU = outputs
    o_strides, to_strides = strides
    batch, head, group, first_row = place
    inverse = 1.0 / mass
    rho = r * inverse
    wide_inverse = gl.convert_layout(inverse, wide_rows)[:, None]
    wide_rho = gl.convert_layout(rho, wide_rows)[:, None]
    output = output * wide_inverse
    tangent = tangent * wide_inverse - wide_rho * output
    first_row = first_row + w * ROWS
    rows = first_row + gl.arange(0, ROWS, wide_rows)
    wide_columns = gl.arange(0, D, gl.SliceLayout(0, WIDE))
    inside = (rows < num_queries)[:, None]
    start = gl.cast(batch, gl.int64) * o_strides[0] + gl.cast(head, gl.int64) * o_strides[1]
    places = gl.cast(rows, gl.int64)[:, None] * o_strides[2] + wide_columns[None, :]
    gl.store(OUT + start + places, output.to(OUT.dtype.element_ty), mask=inside)
    start = gl.cast(batch, gl.int64) * to_strides[0] + gl.cast(head, gl.int64) * to_strides[1]
    places = gl.cast(rows, gl.int64)[:, None] * to_strides[2] + wide_columns[None, :]
    gl.store(TO + start + places, tangent.to(TO.dtype.element_ty), mask=inside)
    side = first_row + gl.arange(0, ROWS, score_rows)
    seen = side < num_queries
    side = (gl.cast(batch, gl.int64) * num_heads + head) * num_queries + side
    gl.store(LSE + side, m + gl.log2(mass), mask=seen)
    gl.store(MU + side, rho + centre, mask=seen)


# A new length or number of heads compiles nothing.
@gluon.jit(do_not_specialize=["num_heads", "heads_per_group", "num_queries", "num_keys"])
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
    o_strides,
    to_strides,
    scale,
    num_heads,
    heads_per_group,
    num_queries,
    num_keys,
    D: gl.constexpr,
    BLOCK_N: gl.constexpr,
    STAGES: gl.constexpr,
    Q_IN_REGISTERS: gl.constexpr,
    DRAIN: gl.constexpr,
    TURNS: gl.constexpr,
    LEAD: gl.constexpr,
):
    """Write O, tO, LSE = log2 sum 2^s and mu = rowsum(P tS) for 128 queries; see _consume."""
    num_row_blocks = gl.cdiv(num_queries, 2 * ROWS)
    batch_head = gl.program_id(0) // num_row_blocks
    batch = batch_head // num_heads
    head = batch_head % num_heads
    first_row = gl.program_id(0) % num_row_blocks * (2 * ROWS)
    place = (batch, head, head // heads_per_group, first_row)
    num_blocks = gl.cdiv(num_keys, BLOCK_N)

    q = gl.allocate_shared_memory(Q.dtype, [2 * (D // 64)] + Q.block_type.shape, Q.layout)
    tq = gl.allocate_shared_memory(Q.dtype, [2 * (D // 64)] + Q.block_type.shape, Q.layout)
    tk = gl.allocate_shared_memory(K.dtype, [STAGES * (D // 64), 1, 1, 2 * BLOCK_N, 64], K.layout)
    k = tk._reinterpret(K.dtype, [STAGES * (D // 64) * 2, 1, 1, BLOCK_N, 64], K.layout)
    v = gl.allocate_shared_memory(V.dtype, [STAGES] + V.block_type.shape, V.layout)
    tv = gl.allocate_shared_memory(V.dtype, [STAGES] + V.block_type.shape, V.layout)
    q_full = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    k_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    k_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    v_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    v_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    turn = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    mbarrier.init(q_full, count=1)
    for slot in gl.static_range(STAGES):
        mbarrier.init(k_full.index(slot), count=1)
        mbarrier.init(v_full.index(slot), count=1)
        mbarrier.init(k_empty.index(slot), count=2)
        mbarrier.init(v_empty.index(slot), count=2)
    for w in gl.static_range(2):
        mbarrier.init(turn.index(w), count=1)

    inputs = (Q, K, V, TQ, TK, TV)
    buffers = (q, k, v, tq, tk, tv)
    barriers = (q_full, k_full, k_empty, v_full, v_empty, turn)
    outputs = (OUT, TO, LSE, MU)
    strides = (o_strides, to_strides)
    sizes = (num_keys, num_blocks, num_queries, num_heads, scale)
    gl.warp_specialize(
        [
            (_consume, (0, buffers, barriers, outputs, strides, place, sizes,
                        D, BLOCK_N, STAGES, Q_IN_REGISTERS, DRAIN, TURNS, LEAD)),
            (_consume, (1, buffers, barriers, outputs, strides, place, sizes,
                        D, BLOCK_N, STAGES, Q_IN_REGISTERS, DRAIN, TURNS, LEAD)),
            (_produce, (inputs, buffers, barriers, place, num_blocks, BLOCK_N, STAGES, D // 64)),
        ],
        [4, 1],
        [240, 24],
    )  # fmt: skip
