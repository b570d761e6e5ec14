"""Training pairs in a file: a safetensors file of images and tokens, named by its SHA-256."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rcm_distill.lab.grammar import MAX_WORDS, VOCAB_SIZE
from rcm_distill.lab.layout import SIZE


class Pairs(NamedTuple):
    """Images (N, 3, S, S), uint8, and token ids (N, MAX_WORDS) of ``grammar.encode``, int64."""

    images: Tensor
    tokens: Tensor


def write_pairs(path: Path, pairs: Pairs) -> str:
    """Write pairs, and return the SHA-256 that a recipe names them by."""
    partial = path.with_name(path.name + ".part")
    held = {name: part.cpu().contiguous() for name, part in pairs._asdict().items()}
    save_file(held, partial)
    partial.replace(path)
    return _sha256(path)


def read_pairs(path: Path, sha256: str) -> Pairs:
    """Read and check pairs.

    Raises:
        ValueError: The file is missing, damaged, another one, empty, or does not hold pairs.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such dataset")
    if (found := _sha256(path)) != sha256:
        raise ValueError(f"{path}: damaged, or another file: expected sha256 {sha256}, got {found}")
    try:
        with safe_open(path, framework="pt") as file:
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as fault:
        raise ValueError(f"{path}: expected a safetensors file of pairs ({fault})") from None
    if set(held) != {"images", "tokens"}:
        raise ValueError(f"{path}: expected the tensors images and tokens, got {sorted(held)}")
    pairs = Pairs(**held)
    count = len(pairs.images)
    if count == 0:
        raise ValueError(f"{path}: the dataset is empty")
    for name, shape, dtype in (
        ("images", (count, 3, SIZE, SIZE), torch.uint8),
        ("tokens", (count, MAX_WORDS), torch.int64),
    ):
        got = held[name]
        if got.shape != shape or got.dtype != dtype:
            raise ValueError(
                f"{path}: {name} must be {dtype} of shape {shape}, "
                f"got {got.dtype} of shape {tuple(got.shape)}"
            )
    if pairs.tokens.min() < 0 or pairs.tokens.max() > VOCAB_SIZE:
        raise ValueError(
            f"{path}: tokens must be in [0, {VOCAB_SIZE}], got "
            f"{int(pairs.tokens.min())} to {int(pairs.tokens.max())}"
        )
    return pairs


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
