"""Weights at 8 bits an element of every matrix: half the size of fp16, for networks that travel.

Every row r of a matrix is kept as int8 numbers n and one float32 level: w = n level_r, with level_r
the row's largest magnitude over 127. Vectors (biases, norms) stay in half precision.

    python -m rcm_distill.eight_bits IN.safetensors OUT.safetensors
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

LEVEL = ".level"
"""What the name of a matrix ends with where its levels are kept."""
_MOST = 127


def pack(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict as it is stored: int8 matrices (R, ...) with levels (R,), fp16 vectors.

    Raises:
        ValueError: A matrix has an element that is not finite.
    """
    packed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        rows = weight.detach().to("cpu", torch.float32)
        if rows.ndim < 2:
            packed[name] = rows.half()
            continue
        if not rows.isfinite().all():
            raise ValueError(f"{name}: expected finite weights")
        level = rows.flatten(1).abs().amax(1) / _MOST
        packed[name] = (rows / _along(level, rows).clamp(min=1e-30)).round().to(torch.int8)
        packed[name + LEVEL] = level
    return packed


def unpack(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the float32 weights of ``pack``'s; a file without int8 matrices is as it was.

    Raises:
        ValueError: A matrix has no levels, or levels of another number of rows.
    """
    weights: dict[str, Tensor] = {}
    matrices = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    for name, tensor in stored.items():
        if name in matrices:
            level = stored.get(name + LEVEL)
            if level is None or tensor.ndim < 2 or level.shape != tensor.shape[:1]:
                came = "none" if level is None else f"shape {tuple(level.shape)}"
                raise ValueError(
                    f"{name}{LEVEL}: expected one level for each of {len(tensor)} rows, got {came}"
                )
            weights[name] = tensor.float() * _along(level.float(), tensor)
        elif name.removesuffix(LEVEL) not in matrices:
            weights[name] = tensor.float()
    return weights


def _along(level: Tensor, rows: Tensor) -> Tensor:
    return level.reshape(-1, *[1] * (rows.ndim - 1))


def main(source: Path, target: Path) -> None:
    """Store a network again at 8 bits an element; its card says so."""
    from rcm_distill import checkpoint

    net, config, card = checkpoint.load(source)
    checkpoint.save(target, net.state_dict(), config, card | {"stored": "int8"}, dtype=torch.int8)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
