# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
"""Values and their tangents in float16 for bfloat16 inputs, scaled by powers of two.

Shape legend: B batch, H heads, G heads of keys and values, S queries, T keys, D head size, E value
size.

The forward kernel rounds the weights p and h to the dtype of the values. float16 has 11 bits where
bfloat16 has 8: the tangent's error falls from 1.7e-3 to 2e-4. Its range is short, so everything is
scaled, per batch and head of the values, with c the centre and powers of two V = 2^v V',
tV = 2^(v + e) tV':

    p' = 2^12 p;   h' = p' 2^-e (tS - c);   sum p' V', sum h' V' + sum p' tV'

Any e would do in exact arithmetic. No tS - c exceeds 2 scale D (max|tQ| max|K| + max|Q| max|tK|);
e is the least that keeps h' within 2^12 by this bound and tV' within 2^15, as v keeps V'. float16
goes on to 2^16: rounding of the highest score m lets p' beyond 2^12 by up to 2^(m 2^-24), and that
fits for |m| < 2^26. A bfloat16 is exact in float16 down to 2^-29 of the largest.

Maxima are over finite numbers: infinities and NaN stay themselves and shrink nothing else.
"""

import triton
import triton.language as tl

from rcm_kernels.tiles import load_tile, store_tile

WEIGHT = tl.constexpr(12)  # log2 of the largest p'
_VALUE = tl.constexpr(15)  # log2 of what |V'| and |tV'| stay under
BIAS = tl.constexpr(126)  # of the exponents: what float32 stores, of numbers from 1/2 to 1


@triton.jit
def _raise_to(
    EXPONENT, X, strides, batch, head, row, num_rows,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, BLOCK_SIZE: tl.constexpr,
):  # fmt: skip
    """Let ``EXPONENT`` be no less than that of any finite number of a tile of X."""
    if X is not None:
        tile = load_tile(
            X, strides, batch, head, row, num_rows, SIZE, BLOCK, BLOCK_SIZE, True, False
        )
        size = tl.abs(tile.to(tl.float32))
        largest = tl.max(tl.where(size < float("inf"), size, 0.0))
        tl.atomic_max(EXPONENT, largest.to(tl.int32, bitcast=True) >> 23, sem="relaxed")


@triton.jit
def find_exponents(
    Q, K, V, TQ, TK, TV, EXPONENTS, LENGTHS,
    q_strides, k_strides, v_strides, tq_strides, tk_strides, tv_strides,
    num_heads, heads_per_group, num_queries, num_keys,
    D: tl.constexpr, E: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Raise EXPONENTS (B, G, 6), zeros before, to those of the largest numbers of the six inputs.

    An exponent is the least n >= 0 with |x| < 2^(n - BIAS). Keys beyond LENGTHS do not count. A
    program takes a block of the queries of one head; that of the first head of a group takes the
    keys and values, too.
    """
    num_blocks = tl.cdiv(tl.maximum(num_queries, num_keys), BLOCK)
    row = tl.program_id(0) % num_blocks * BLOCK
    batch_head = tl.program_id(0) // num_blocks
    batch = batch_head // num_heads
    head = batch_head % num_heads
    group = head // heads_per_group
    exponents = EXPONENTS + (batch * (num_heads // heads_per_group) + group) * 6
    if row < num_queries:
        _raise_to(exponents, Q, q_strides, batch, head, row, num_queries, D, BLOCK, BLOCK_D)
        _raise_to(exponents + 3, TQ, tq_strides, batch, head, row, num_queries, D, BLOCK, BLOCK_D)
    length = num_keys
    if LENGTHS is not None:
        length = tl.minimum(num_keys, tl.load(LENGTHS + batch).to(tl.int32))
    if (row < length) & (head % heads_per_group == 0):
        _raise_to(exponents + 1, K, k_strides, batch, group, row, length, D, BLOCK, BLOCK_D)
        _raise_to(exponents + 4, TK, tk_strides, batch, group, row, length, D, BLOCK, BLOCK_D)
        _raise_to(exponents + 2, V, v_strides, batch, group, row, length, E, BLOCK, BLOCK_E)
        _raise_to(exponents + 5, TV, tv_strides, batch, group, row, length, E, BLOCK, BLOCK_E)


@triton.jit
def _power(n):
    """Return 2^n, -126 <= n <= 127."""
    return ((n + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def _scales(exponents, scale_exponent):
    """Return v and v + e; both powers and that of e are within what float32 holds."""
    q = tl.load(exponents) - BIAS
    k = tl.load(exponents + 1) - BIAS
    v = tl.load(exponents + 2) - BIAS
    tq = tl.load(exponents + 3) - BIAS
    tk = tl.load(exponents + 4) - BIAS
    tv = tl.load(exponents + 5) - BIAS
    # A sum of two, and the distance of two such sums: 2 more.
    bound = tl.maximum(tq + k, q + tk) + scale_exponent + 2
    v = tl.maximum(v, tl.maximum(tv, _VALUE) - 126)  # V below 2^-126 tV leaves the top of its range
    e = tl.minimum(tl.maximum(tl.maximum(bound, tv - v), -126), 126)
    v -= _VALUE
    return v, tl.minimum(tl.maximum(v + e, -126), 126)


# A new scale compiles nothing.
@triton.jit(do_not_specialize=["scale_exponent"])
def scale_values(
    V, TV, EXPONENTS, LENGTHS, SCALED_V, SCALED_TV, FACTORS,
    v_strides, tv_strides, scaled_v_strides, scaled_tv_strides,
    scale_exponent, num_groups, num_keys,
    E: tl.constexpr, BLOCK: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Write V' and tV', zero beyond LENGTHS, and FACTORS (B, G, 2): 2^v and 2^e.

    EXPONENTS are those of ``find_exponents``, ``scale_exponent`` is the least n with scale D < 2^n.
    """
    num_blocks = tl.cdiv(num_keys, BLOCK)
    row = tl.program_id(0) % num_blocks * BLOCK
    batch_group = tl.program_id(0) // num_blocks
    batch = batch_group // num_groups
    group = batch_group % num_groups
    length = num_keys
    if LENGTHS is not None:
        length = tl.minimum(num_keys, tl.load(LENGTHS + batch).to(tl.int32))
    v, tangent = _scales(EXPONENTS + batch_group * 6, scale_exponent)
    x = load_tile(V, v_strides, batch, group, row, length, E, BLOCK, BLOCK_E, True, False)
    x = x.to(tl.float32) * _power(-v)
    store_tile(SCALED_V, scaled_v_strides, batch, group, row, num_keys, x, E, BLOCK, BLOCK_E)
    if TV is not None:
        x = load_tile(TV, tv_strides, batch, group, row, length, E, BLOCK, BLOCK_E, True, False)
        x = x.to(tl.float32) * _power(-tangent)
        store_tile(SCALED_TV, scaled_tv_strides, batch, group, row, num_keys, x, E, BLOCK, BLOCK_E)
    if row == 0:
        tl.store(FACTORS + batch_group * 2, _power(v))
        tl.store(FACTORS + batch_group * 2 + 1, _power(tangent - v))
