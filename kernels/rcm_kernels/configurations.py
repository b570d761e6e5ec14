"""Block sizes per GPU class, head size and kind of dtype; no entry depends on a length.

An entry's ``source`` says what it rests on. "prototype on H100" means that a prototype with two
accumulators ran fastest with these blocks among the 20 that were tried (556 TFLOP/s at head size
128, 525 at 64); these kernels centre, round and mask more, use more registers, and have not been
timed. "fewest spills" means that of the blocks that were compiled, for an H100 and for an A100 and
without either, these keep most in registers. Exact float32 products run on the plain arithmetic
units, where larger blocks spilled up to 130 KB a thread and took a minute to compile;
tests/kernels/test_registers.py holds their bytes. "not measured" has nothing behind it.
"""

from dataclasses import dataclass
from typing import Literal

import torch

GpuClass = Literal["hopper", "ampere", "interpreter"]
Kernel = Literal["forward", "query_gradients", "key_gradients"]
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
        warp_specialize: Let Triton split loads and products between warps.
        source: What the choice rests on.
    """

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int
    tma: bool = False
    warp_specialize: bool = False
    source: str = NOT_MEASURED


def _of(
    m: int, n: int, warps: int, stages: int, *, tma: bool = False, source: str = NOT_MEASURED
) -> Configuration:
    return Configuration(
        block_m=m, block_n=n, num_warps=warps, num_stages=stages, tma=tma, source=source
    )


_PROTOTYPE = "prototype on H100"
_SPILLS = "fewest spills"

# (class, kernel, bits): {largest padded head size that it serves: configuration}
TABLE: dict[tuple[GpuClass, Kernel, Width], dict[int, Configuration]] = {
    ("hopper", "forward", 16): {
        64: _of(128, 128, 8, 2, tma=True, source=_PROTOTYPE),
        128: _of(128, 64, 8, 2, tma=True, source=_PROTOTYPE),
        256: _of(64, 32, 8, 2, tma=True),
    },
    ("hopper", "forward", 32): {
        64: _of(32, 16, 8, 1, source=_SPILLS),
        128: _of(16, 16, 8, 1, source=_SPILLS),
        256: _of(16, 16, 8, 1, source=_SPILLS),
    },
    ("hopper", "query_gradients", 16): {
        64: _of(128, 64, 8, 2),
        128: _of(64, 64, 8, 2),
        256: _of(64, 32, 8, 1),
    },
    ("hopper", "query_gradients", 32): {
        64: _of(16, 16, 8, 1, source=_SPILLS),
        128: _of(16, 16, 8, 1, source=_SPILLS),
        256: _of(16, 16, 16, 1, source=_SPILLS),
    },
    ("hopper", "key_gradients", 16): {
        64: _of(64, 128, 8, 2),
        128: _of(64, 64, 8, 1),
        256: _of(32, 32, 8, 1),
    },
    ("hopper", "key_gradients", 32): {
        64: _of(16, 16, 8, 1, source=_SPILLS),
        128: _of(16, 16, 8, 1, source=_SPILLS),
        256: _of(16, 16, 16, 1, source=_SPILLS),
    },
    ("ampere", "forward", 16): {
        64: _of(128, 64, 8, 2, source=_SPILLS),
        128: _of(64, 32, 8, 1, source=_SPILLS),
        256: _of(32, 32, 8, 1, source=_SPILLS),
    },
    ("ampere", "forward", 32): {
        64: _of(32, 16, 8, 1, source=_SPILLS),
        128: _of(16, 16, 8, 1, source=_SPILLS),
        256: _of(16, 16, 8, 1, source=_SPILLS),
    },
    ("ampere", "query_gradients", 16): {
        64: _of(32, 32, 4, 1, source=_SPILLS),
        128: _of(32, 32, 8, 1, source=_SPILLS),
        256: _of(16, 16, 8, 1, source=_SPILLS),
    },
    ("ampere", "query_gradients", 32): {
        64: _of(16, 16, 8, 1, source=_SPILLS),
        128: _of(16, 16, 8, 1, source=_SPILLS),
        256: _of(16, 16, 16, 1, source=_SPILLS),
    },
    ("ampere", "key_gradients", 16): {
        64: _of(32, 32, 4, 1, source=_SPILLS),
        128: _of(32, 32, 8, 1, source=_SPILLS),
        256: _of(16, 16, 8, 1, source=_SPILLS),
    },
    ("ampere", "key_gradients", 32): {
        64: _of(16, 16, 8, 1, source=_SPILLS),
        128: _of(16, 16, 8, 1, source=_SPILLS),
        256: _of(16, 16, 16, 1, source=_SPILLS),
    },
    # Few large programs are what an interpreter runs fastest; it has no registers to spill.
    ("interpreter", "forward", 16): {256: _of(32, 32, 4, 1)},
    ("interpreter", "forward", 32): {256: _of(32, 32, 4, 1)},
    ("interpreter", "query_gradients", 16): {256: _of(32, 32, 4, 1)},
    ("interpreter", "query_gradients", 32): {256: _of(32, 32, 4, 1)},
    ("interpreter", "key_gradients", 16): {256: _of(32, 32, 4, 1)},
    ("interpreter", "key_gradients", 32): {256: _of(32, 32, 4, 1)},
}


def gpu_class(device: torch.device) -> GpuClass:
    """Name the class of a device; what is not a Hopper GPU is served as an Ampere one."""
    if device.type == "cpu":
        return "interpreter"
    return "hopper" if torch.cuda.get_device_capability(device)[0] == 9 else "ampere"


def shipped(kind: GpuClass, kernel: Kernel, dtype: torch.dtype, head_size: int) -> Configuration:
    """Look a configuration up; ``head_size`` is the larger of those of keys and values."""
    sizes = TABLE[kind, kernel, 32 if dtype.itemsize == 4 else 16]
    return sizes[min(size for size in sizes if size >= head_size)]
