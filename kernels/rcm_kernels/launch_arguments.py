"""What the launches of the Triton kernels share: descriptors, grids, block arguments."""

from typing import Any

import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from rcm_kernels.configurations import Configuration
from rcm_kernels.reference import Tangents
from rcm_kernels.tensors import suits_tma


class Reader:
    """Hand tensors to a kernel: as descriptors if the configuration and all strides allow it."""

    def __init__(self, chosen: Configuration, tensors: list[Tensor | None]) -> None:
        self.blocks = {"m": chosen.block_m, "n": chosen.block_n}
        self.tma = chosen.tma and all(x is None or suits_tma(x) for x in tensors)
        self.flag = {"TMA": self.tma}

    def __call__(self, x: Tensor | None, rows: str) -> Any:
        """Return what a kernel gets of a tensor; ``rows`` names its blocks, m or n."""
        if x is None or not self.tma:
            return x
        block = [1, 1, self.blocks[rows], padded(x.shape[3])]
        return TensorDescriptor(x, list(x.shape), list(x.stride()), block)


def grid(num_rows: int, block: int, num_heads: int) -> tuple[int]:
    """Return one program a block of rows; in one dimension, since the others end at 65535."""
    return (triton.cdiv(num_rows, block) * num_heads,)


def padded(size: int) -> int:
    """Return the power of two, at least 16, that a block of columns needs."""
    return max(16, 1 << (size - 1).bit_length())


def presence(tangents: Tangents) -> dict[str, bool]:
    """Return the kernels' arguments that say which tangents there are."""
    return {
        name: x is not None
        for name, x in zip(("HAS_TQ", "HAS_TK", "HAS_TV"), tangents, strict=True)
    }


def blocks(chosen: Configuration, head_size: int, value_size: int) -> dict[str, int]:
    """Return the kernels' arguments of a configuration."""
    return {
        "BLOCK_M": chosen.block_m,
        "BLOCK_N": chosen.block_n,
        "BLOCK_D": padded(head_size),
        "BLOCK_E": padded(value_size),
        "num_warps": chosen.num_warps,
        "num_stages": chosen.num_stages,
    }
