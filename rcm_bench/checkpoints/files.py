"""Reading a transformer's weights: safetensors as they are, pickles only where they are allowed.

A pickle can run code when it is read. One is read only if its SHA-256 was given on the command
line (``--allow-pickle``), and then with ``weights_only``. There is no other way and no fallback.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rcm_bench.checkpoints.fit import Shapes
from rcm_bench.diffusion.digests import files_digest, remembered_digest
from rcm_bench.diffusion.source import part_files
from rcm_bench.errors import UserError
from rcm_bench.faults import first_line
from rcm_bench.weights_files import read_header

if TYPE_CHECKING:
    from torch import Tensor

PICKLES = (".pt", ".pth", ".ckpt", ".bin")
METADATA = ".metadata"
Format = Literal["safetensors", "pickle", "distributed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Weights of a transformer on the disk.

    Args:
        path: File or folder.
        format: How it is stored.
        files: The files that hold it.
        place: File, line and key, for messages.
    """

    path: Path
    format: Format
    files: tuple[Path, ...]
    place: str

    def digest(self) -> str:
        """Return one digest of all files."""
        if self.format == "distributed":
            return files_digest([*self.files, self.path / METADATA])
        return files_digest(self.files)

    def shapes(self) -> Shapes | None:
        """Return shapes by name as the headers say; None for pickles, which are not read here."""
        if self.format != "safetensors":
            return None
        found = {}
        for file in self.files:
            for name, tensor in read_header(file, self.place).tensors.items():
                found[name] = tensor["shape"]
        return found


def find_path(name: str, folder: Path) -> Path | None:
    """Return where weights lie, relative to the suite's folder or to the working folder."""
    return next((p for p in (folder / name, Path(name)) if p.exists()), None)


def find_checkpoint(
    name: str, folder: Path, place: str, pickles: Collection[str] = ()
) -> Checkpoint:
    """Find weights by path and check what can be checked without reading them.

    Args:
        name: A file or a folder, relative to the suite's folder or to the working folder.
        folder: Folder of the suite.
        place: File, line and key, for messages.
        pickles: SHA-256 digests of pickles that the command line allows.

    Raises:
        UserError: There is no such path, it is damaged, or a pickle that was not allowed.
    """
    path = find_path(name, folder)
    if path is None:
        raise UserError(f"{place}: {name}: no such file, neither in {folder} nor in {Path.cwd()}")
    if path.is_dir() and (path / METADATA).is_file():
        files = tuple(sorted(path.glob("*.distcp")))
        if not files:
            raise UserError(f"{place}: {path}: expected .distcp files beside {METADATA}, got none")
        # Its table of contents is a pickle, and its tensors are.
        _check_allowed(path / METADATA, place, pickles)
        return Checkpoint(path=path, format="distributed", files=files, place=place)
    if path.is_dir():
        nested = path / "transformer"
        where = nested if nested.is_dir() else path
        entry, _, key = place.rpartition(".")
        found = tuple(part_files(where, entry, key))
        checkpoint = Checkpoint(path=where, format="safetensors", files=found, place=place)
    elif path.suffix == ".safetensors":
        checkpoint = Checkpoint(path=path, format="safetensors", files=(path,), place=place)
    elif path.suffix in PICKLES:
        _check_allowed(path, place, pickles)
        return Checkpoint(path=path, format="pickle", files=(path,), place=place)
    else:
        raise UserError(
            f"{place}: {path}: expected .safetensors, {', '.join(PICKLES)}, a folder in diffusers' "
            "layout or a distributed checkpoint"
        )
    checkpoint.shapes()
    return checkpoint


def _check_allowed(path: Path, place: str, pickles: Collection[str]) -> None:
    digest = remembered_digest(path)
    if digest not in pickles:
        raise UserError(
            f"{place}: {path}: a pickle can run code when it is read. Convert it to safetensors, "
            f"or, if you trust it, run again with: --allow-pickle {digest}"
        )


def read_tensors(checkpoint: Checkpoint) -> "dict[str, Tensor]":
    """Read all tensors onto the CPU under the names that the files give them.

    Raises:
        UserError: A file cannot be read, or a pickle holds more than tensors.
    """
    if checkpoint.format == "safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = {}
        try:
            for file in checkpoint.files:
                tensors |= load_file(file)
        except (OSError, SafetensorError) as fault:
            raise UserError(f"{checkpoint.place}: {checkpoint.path}: {fault}") from None
        return tensors
    if checkpoint.format == "distributed":
        from rcm_bench.checkpoints.distributed import read_distributed

        return read_distributed(checkpoint.path, checkpoint.place)
    return _read_pickle(checkpoint)


def _read_pickle(checkpoint: Checkpoint) -> "dict[str, Tensor]":
    import pickle

    import torch

    place = f"{checkpoint.place}: {checkpoint.path}"
    try:
        value = torch.load(checkpoint.path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as fault:
        said = first_line(fault)
        raise UserError(f"{place}: cannot be read with weights_only: {said}") from None
    for key in ("state_dict", "model"):  # where training code nests the weights
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    if not isinstance(value, dict):
        raise UserError(f"{place}: expected a mapping of tensors, got {type(value).__name__}")
    flat = dict(value)
    for net, held in value.items():  # one mapping for each of several networks
        if isinstance(held, dict):
            flat |= {f"{net}.{name}": tensor for name, tensor in held.items()}
    return {name: tensor for name, tensor in flat.items() if isinstance(tensor, torch.Tensor)}
