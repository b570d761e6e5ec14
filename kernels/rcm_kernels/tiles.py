# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
"""What the Triton kernels share: loading tiles, matrix products, rounding.

Under Triton's interpreter products of bfloat16 multiply the bits as integers, and conversions to
bfloat16 cut off instead of rounding (Triton 3.6 and 3.8); both are mended here, as is the order of
its sums, so that the arithmetic of every dtype can be tested on a CPU.
"""

import os

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def load_tile(
    X,
    strides,
    batch,
    head,
    row,
    num_rows,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    CHECK_ROWS: tl.constexpr,
    TMA: tl.constexpr,
):
    """Load X[batch, head, row : row + BLOCK], zero beyond ``num_rows`` and ``SIZE``.

    X is a pointer with ``strides`` of batch, head and row, or a TMA descriptor of four dimensions,
    which knows its bounds.
    """
    # One return at the end: Triton compiles what follows a return in a branch, too.
    if TMA:
        tile = tl.reshape(X.load([batch, head, row, 0]), [BLOCK, BLOCK_SIZE])
    else:
        rows = tl.arange(0, BLOCK)
        columns = tl.arange(0, BLOCK_SIZE)
        base = X + tile_offset(strides, batch, head, row)
        places = base + rows[:, None] * strides[2] + columns[None, :]
        if CHECK_ROWS:
            inside = (row + rows < num_rows)[:, None] & (columns < SIZE)[None, :]
            tile = tl.load(places, mask=inside, other=0.0)
        elif SIZE != BLOCK_SIZE:
            tile = tl.load(places, mask=(columns < SIZE)[None, :], other=0.0)
        else:
            tile = tl.load(places)
    return tile


@triton.jit
def store_tile(
    X,
    strides,
    batch,
    head,
    row,
    num_rows,
    tile,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
):
    """Store ``tile`` into X[batch, head, row : row + BLOCK], within bounds."""
    base = X + tile_offset(strides, batch, head, row)
    rows = tl.arange(0, BLOCK)
    columns = tl.arange(0, BLOCK_SIZE)
    places = base + rows[:, None] * strides[2] + columns[None, :]
    inside = (row + rows < num_rows)[:, None] & (columns < SIZE)[None, :]
    tl.store(places, narrow(tile, X.dtype.element_ty), mask=inside)


@triton.jit
def tile_offset(strides, batch, head, row):
    """Return the offset of a tile's first element, in 64 bit for large tensors."""
    start = tl.cast(batch, tl.int64) * strides[0] + tl.cast(head, tl.int64) * strides[1]
    return start + tl.cast(row, tl.int64) * strides[2]


@triton.jit
def narrow(x, DTYPE: tl.constexpr):
    """Round float32 to the nearest number of another dtype, ties to even."""
    if INTERPRETED and tl.bfloat16 == DTYPE:
        bits = x.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        x = bits.to(tl.float32, bitcast=True)
    return x.to(DTYPE)


@triton.jit
def rounded(x, DTYPE: tl.constexpr):
    """Round float32 as ``narrow`` does; return that and the same in float32.

    Two numbers at a time: where both are asked for, Triton 3.6 converts one by one, on the unit
    that exp2 needs.
    """
    if INTERPRETED or tl.float32 == DTYPE:
        low = narrow(x, DTYPE)
        wide = low.to(tl.float32)
    elif tl.bfloat16 == DTYPE:
        low, wide = tl.inline_asm_elementwise(
            "cvt.rn.bf16x2.f32 $0, $4, $3; shl.b32 $1, $0, 16; and.b32 $2, $0, 0xffff0000;",
            "=r,=f,=f,f,f", [x], dtype=(tl.bfloat16, tl.float32), is_pure=True, pack=2,
        )  # fmt: skip
    else:
        low, wide = tl.inline_asm_elementwise(
            "{ .reg .b16 low, high; cvt.rn.f16x2.f32 $0, $4, $3; mov.b32 {low, high}, $0;"
            " cvt.f32.f16 $1, low; cvt.f32.f16 $2, high; }",
            "=r,=f,=f,f,f", [x], dtype=(tl.float16, tl.float32), is_pure=True, pack=2,
        )  # fmt: skip
    return low, wide


@triton.jit
def product(a, b):
    """Return a @ b in float32; float32 operands are not cut to TF32."""
    return add_product(None, a, b)


@triton.jit
def add_product(total, a, b):
    """Return total + a @ b in float32."""
    if INTERPRETED:
        # A GPU adds the terms of one element in one order, whichever operand comes first, so that
        # scores come out the same bits in all kernels. The BLAS behind the interpreter does not:
        # float64 makes the order immaterial.
        WIDE: tl.constexpr = tl.float64 if a.dtype == tl.float32 else tl.float32
        ab = tl.dot(a.to(WIDE), b.to(WIDE), out_dtype=WIDE).to(tl.float32)
        result = ab if total is None else total + ab
    else:
        result = tl.dot(a, b, total, input_precision="ieee")
    return result


@triton.jit
def add_exactly(total, lost, x):
    """Return total + x, and ``lost`` with what its rounding lost (Knuth's TwoSum)."""
    whole = total + x
    back = whole - total
    lost += (total - (whole - back)) + (x - back)
    return whole, lost


@triton.jit
def sum_up(total, lost, x, DTYPE: tl.constexpr):
    """Add one more block's term to a running sum; float32 keeps what rounding loses in ``lost``.

    A sum along thousands of keys block by block errs more than PyTorch's, which are cut in
    parts. For 16-bit inputs ``lost`` stays zero and costs nothing.
    """
    if tl.float32 == DTYPE:
        total, lost = add_exactly(total, lost, x)
    else:
        total += x
    return total, lost


@triton.jit
def sum_up_product(total, lost, a, b):
    """Add a @ b to a running sum, as ``sum_up`` does."""
    if a.dtype == tl.float32:
        total, lost = add_exactly(total, lost, product(a, b))
    else:
        total = add_product(total, a, b)
    return total, lost
