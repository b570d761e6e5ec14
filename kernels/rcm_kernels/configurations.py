"""Block sizes per GPU class, head size and kind of dtype; no entry depends on a length.

An entry's ``source`` says what it rests on. "fastest on H100" means the fastest of three to nine
that were timed on one (B4 H32 S4096 D64, B1 H12 S8192 D128, B1 H12 S4096 D256; kernels__blocks in
reports/gallery).
"fewest spills" means that of the blocks that were compiled, for an H100 and for an A100 and without
either, these keep most in registers. Exact float32 products run on the plain arithmetic units,
where larger blocks spilled up to 130 KB a thread and took a minute to compile;
tests/kernels/test_registers.py holds their bytes. "not measured" has nothing behind it.
"""

from dataclasses import dataclass
from typing import Literal

import torch

GpuClass = Literal["hopper", "ampere", "interpreter"]
# "+tangent": with tangents, or with a gradient of the tangent. Without one, key_gradients writes
# those of the values too.
Kernel = Literal[
    "forward",
    "forward+tangent",
    "query_gradients",
    "query_gradients+tangent",
    "key_gradients",
    "key_gradients+tangent",
    "value_gradients+tangent",
]
Width = Literal[16, 32]  # bits of the inputs
NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """How a kernel is cut into blocks.

    Attributes:
        block_m: Queries in a block.
        block_n: Keys in a block.
        num_warps: Warps of a program.
        num_stages: Depth of the software pipeline over the loop.
        tma: Load through tensor memory descriptors where the strides allow it.
        gluon: Take the Gluon kernel (``gluon_launch``) where it serves, and these blocks elsewhere.
        source: What the choice rests on.
    """

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int
    tma: bool = False
    gluon: bool = False
    source: str = NOT_MEASURED


def _of(
    m: int,
    n: int,
    warps: int,
    stages: int,
    *,
    tma: bool = False,
    gluon: bool = False,
    source: str = NOT_MEASURED,
) -> Configuration:
    return Configuration(
        block_m=m,
        block_n=n,
        num_warps=warps,
        num_stages=stages,
        tma=tma,
        gluon=gluon,
        source=source,
    )


_H100 = "fastest on H100"
_SPILLS = "fewest spills"

# Float32 and Ampere serve calls with and without tangents by the same blocks.
_FORWARD_32 = {
    64: _of(32, 16, 8, 1, source=_SPILLS),
    128: _of(16, 16, 8, 1, source=_SPILLS),
    256: _of(16, 16, 8, 1, source=_SPILLS),
}
_BACKWARD_32 = {
    64: _of(16, 16, 8, 1, source=_SPILLS),
    128: _of(16, 16, 8, 1, source=_SPILLS),
    256: _of(16, 16, 16, 1, source=_SPILLS),
}
_AMPERE_BACKWARD = {
    64: _of(32, 32, 4, 1, source=_SPILLS),
    128: _of(32, 32, 8, 1, source=_SPILLS),
    256: _of(16, 16, 8, 1, source=_SPILLS),
}
_INTERPRETED = {256: _of(32, 32, 4, 1)}
_WITH_TANGENT: dict[Kernel, tuple[Kernel, ...]] = {
    "forward": ("forward+tangent",),
    "query_gradients": ("query_gradients+tangent",),
    "key_gradients": ("key_gradients+tangent", "value_gradients+tangent"),
}


def _both(
    kinds: tuple[GpuClass, ...],
    kernel: Kernel,
    widths: tuple[Width, ...],
    sizes: dict[int, Configuration],
) -> dict[tuple[GpuClass, Kernel, Width], dict[int, Configuration]]:
    names = (kernel, *_WITH_TANGENT[kernel])
    return {(kind, name, width): sizes for kind in kinds for name in names for width in widths}


# (class, kernel, bits): {largest padded head size that it serves: configuration}
TABLE: dict[tuple[GpuClass, Kernel, Width], dict[int, Configuration]] = {
    ("hopper", "forward", 16): {
        64: _of(64, 128, 4, 2, tma=True, source=_H100),
        128: _of(64, 64, 4, 3, tma=True, source=_H100),
        256: _of(128, 64, 8, 2, tma=True, source=_H100),
    },
    ("hopper", "forward+tangent", 16): {
        64: _of(64, 64, 4, 3, tma=True, gluon=True, source=_H100),
        128: _of(128, 64, 8, 2, tma=True, gluon=True, source=_H100),
        256: _of(64, 64, 8, 1, tma=True, source=_H100),
    },
    ("hopper", "query_gradients", 16): {
        64: _of(128, 64, 8, 3, tma=True, source=_H100),
        128: _of(128, 64, 8, 3, tma=True, source=_H100),
        256: _of(64, 32, 4, 1, tma=True, source=_H100),
    },
    ("hopper", "query_gradients+tangent", 16): {
        64: _of(64, 64, 4, 2, tma=True, source=_H100),
        128: _of(128, 32, 8, 2, tma=True, source=_H100),
        256: _of(64, 32, 8, 1, tma=True, source=_H100),
    },
    ("hopper", "key_gradients", 16): {
        64: _of(64, 64, 4, 2, tma=True, source=_H100),
        128: _of(64, 128, 8, 3, tma=True, source=_H100),
        256: _of(32, 64, 8, 1, tma=True, source=_H100),
    },
    ("hopper", "key_gradients+tangent", 16): {
        64: _of(64, 64, 4, 2, tma=True, source=_H100),
        128: _of(32, 128, 8, 2, tma=True, source=_H100),
        256: _of(32, 64, 8, 1, tma=True, source=_H100),
    },
    ("hopper", "value_gradients+tangent", 16): {
        64: _of(32, 128, 8, 2, tma=True, source=_H100),
        128: _of(64, 128, 8, 2, tma=True, source=_H100),
        256: _of(32, 32, 8, 1, source=_H100),
    },
    **_both(("hopper", "ampere"), "forward", (32,), _FORWARD_32),
    **_both(("hopper", "ampere"), "query_gradients", (32,), _BACKWARD_32),
    **_both(("hopper", "ampere"), "key_gradients", (32,), _BACKWARD_32),
    **_both(
        ("ampere",),
        "forward",
        (16,),
        {
            64: _of(128, 64, 8, 2, source=_SPILLS),
            128: _of(64, 32, 8, 1, source=_SPILLS),
            256: _of(32, 32, 8, 1, source=_SPILLS),
        },
    ),
    **_both(("ampere",), "query_gradients", (16,), _AMPERE_BACKWARD),
    **_both(("ampere",), "key_gradients", (16,), _AMPERE_BACKWARD),
    # Few large programs are what an interpreter runs fastest; it has no registers to spill.
    **_both(("interpreter",), "forward", (16, 32), _INTERPRETED),
    **_both(("interpreter",), "query_gradients", (16, 32), _INTERPRETED),
    **_both(("interpreter",), "key_gradients", (16, 32), _INTERPRETED),
}


def named(kernel: Kernel, *, moving: bool) -> Kernel:
    """Name the entry of a kernel that serves a call with (``moving``) or without tangents."""
    return _WITH_TANGENT[kernel][0] if moving else kernel


def gpu_class(device: torch.device) -> GpuClass:
    """Name the class of a device; what is not a Hopper GPU is served as an Ampere one."""
    if device.type == "cpu":
        return "interpreter"
    return "hopper" if torch.cuda.get_device_capability(device)[0] == 9 else "ampere"


def shipped(kind: GpuClass, kernel: Kernel, dtype: torch.dtype, head_size: int) -> Configuration:
    """Look a configuration up; ``head_size`` is the larger of those of keys and values."""
    sizes = TABLE[kind, kernel, 32 if dtype.itemsize == 4 else 16]
    return sizes[min(size for size in sizes if size >= head_size)]
