# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
"""The producer warp of the forward kernel for Hopper GPUs: tiles into shared memory by TMA.

Which barriers it waits for and signals, with which parity, says the table of ``gluon_forward``.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma

# Triton 3.8 renamed it.
_copy_in = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared

ROWS = gl.constexpr(64)  # of a consumer: one warpgroup's share of a wgmma


@gluon.jit
def place_of(tile, heads):
    """Return (batch, head, group, first row) of a tile of queries."""
    num_row_blocks, num_heads, heads_per_group = heads
    batch_head = tile // num_row_blocks
    head = batch_head % num_heads
    first_row = tile % num_row_blocks * (2 * ROWS)
    return batch_head // num_heads, head, head // heads_per_group, first_row


@gluon.jit
def _load_queries(Q, TQ, q, tq, q_full, q_empty, place, w: gl.constexpr, i):
    batch, head, group, first_row = place
    mbarrier.wait(q_empty.index(w), (i & 1) ^ 1)
    mbarrier.expect(q_full.index(w), 2 * Q.block_type.nbytes)
    _copy_in(Q, [batch, head, first_row + w * ROWS, 0], q_full.index(w), q.index(w))
    _copy_in(TQ, [batch, head, first_row + w * ROWS, 0], q_full.index(w), tq.index(w))


@gluon.jit
def _load_pair(X, TX, x, tx, full, empty, place, row, b, STAGES: gl.constexpr):
    """Load ``row`` onward of keys or values and of their tangents as block b."""
    batch, head, group, first_row = place
    slot = b % STAGES
    mbarrier.wait(empty.index(slot), ((b // STAGES) & 1) ^ 1)
    mbarrier.expect(full.index(slot), 2 * X.block_type.nbytes)
    _copy_in(X, [batch, group, row, 0], full.index(slot), x.index(slot))
    _copy_in(TX, [batch, group, row, 0], full.index(slot), tx.index(slot))


@gluon.jit
def produce(
    inputs, buffers, barriers, tiles, heads, num_blocks, BLOCK_N: gl.constexpr, STAGES: gl.constexpr
):
    """Load the queries of every tile and, for each, all blocks of keys and values."""
    Q, K, V, TQ, TK, TV = inputs
    q, k, v, tq, tk, tv = buffers
    q_full, q_empty, k_full, k_empty, v_full, v_empty, turn = barriers
    first_tile, num_mine, stride = tiles
    for i in range(num_mine):
        place = place_of(first_tile + i * stride, heads)
        b = i * num_blocks
        _load_queries(Q, TQ, q, tq, q_full, q_empty, place, 0, i)
        _load_pair(K, TK, k, tk, k_full, k_empty, place, 0, b, STAGES)
        _load_queries(Q, TQ, q, tq, q_full, q_empty, place, 1, i)
        _load_pair(V, TV, v, tv, v_full, v_empty, place, 0, b, STAGES)
        for j in range(1, num_blocks):
            _load_pair(K, TK, k, tk, k_full, k_empty, place, j * BLOCK_N, b + j, STAGES)
            _load_pair(V, TV, v, tv, v_full, v_empty, place, j * BLOCK_N, b + j, STAGES)
