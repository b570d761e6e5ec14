# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
"""What a consumer of the forward kernel for Hopper GPUs does with its tiles beside multiplying."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from rcm_kernels.gluon_loads import ROWS


@gluon.jit
def narrow(x, DTYPE: gl.constexpr):
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
def here(x):
    """Compute integers where they are used: held in registers over all tiles they would spill."""
    return gl.inline_asm_elementwise(
        "mov.b32 $0, $1;", "=r,r", [x], dtype=gl.int32, is_pure=False, pack=1
    )


@gluon.jit
def store(X, x, strides, place, D: gl.constexpr):
    """Write 64 rows: whole rows side by side, since the tensor core's layout fills half sectors."""
    batch, head, first_row, num_queries = place
    DTYPE: gl.constexpr = X.dtype.element_ty
    if DTYPE.primitive_bitwidth == 16:
        FLAT: gl.constexpr = gl.BlockedLayout([1, 8], [256 // D, D // 8], [4, 1], [1, 0])
        x = gl.convert_layout(x.to(DTYPE), FLAT)
    rows = first_row + gl.arange(0, ROWS, gl.SliceLayout(1, x.type.layout))
    columns = gl.arange(0, D, gl.SliceLayout(0, x.type.layout))
    start = gl.cast(batch, gl.int64) * strides[0] + gl.cast(head, gl.int64) * strides[1]
    places = gl.cast(rows, gl.int64)[:, None] * strides[2] + columns[None, :]
    gl.store(X + start + places, x, mask=(rows < num_queries)[:, None])
