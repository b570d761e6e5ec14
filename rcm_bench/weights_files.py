"""Weight files: found by id or path, checked by their safetensors header alone, without torch."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from rcm_bench.errors import UserError, unknown
from rcm_bench.shipped import shipped

_MAX_HEADER_BYTES = 100 << 20


class Header(NamedTuple):
    """What the header of a safetensors file says.

    Attributes:
        metadata: Free text by name.
        tensors: dtype, shape and offsets by tensor name.
    """

    metadata: dict[str, str]
    tensors: dict[str, dict[str, Any]]


def shipped_weights() -> dict[str, Path]:
    """Return the weights that come with the package, by id."""
    return {path.stem: path for path in sorted(shipped("weights").glob("*.safetensors"))}


def find_weights(name: str, folder: Path, place: str) -> Path:
    """Return the file of weights given as a shipped id or as a path.

    Args:
        name: Id, or path relative to the suite's folder or to the working folder.
        folder: Folder of the suite.
        place: File, line and key, for messages.

    Raises:
        UserError: There is no such id or file.
    """
    known = shipped_weights()
    if name in known:
        return known[name]
    if not name.endswith(".safetensors"):
        raise UserError(
            f"{place}: {unknown('weights', name, known)} "
            "A path to weights must end with .safetensors."
        )
    for path in (folder / name, Path(name)):
        if path.is_file():
            return path
    raise UserError(f"{place}: {name}: no such file, neither in {folder} nor in {Path.cwd()}")


def read_header(path: Path, place: str) -> Header:
    """Read the header of a safetensors file and check that the file is as long as it says.

    Raises:
        UserError: The file cannot be read, is no safetensors file, or is truncated.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(_MAX_HEADER_BYTES, size - 8):
                raise UserError(
                    f"{place}: {path}: expected a safetensors file; its header is cut off or "
                    f"it is another format ({size} bytes)"
                )
            header = json.loads(file.read(length).decode("utf-8"))
        metadata = header.pop("__metadata__", {})
        end = 8 + length + max((t["data_offsets"][1] for t in header.values()), default=0)
    except OSError as fault:
        raise UserError(f"{place}: {path}: cannot be read ({fault.strerror})") from None
    except (ValueError, AttributeError, KeyError, TypeError):
        raise UserError(
            f"{place}: {path}: expected a safetensors file, got another format"
        ) from None
    if size != end:
        raise UserError(
            f"{place}: {path}: expected {end} bytes as its header says, got {size}; "
            "the file is truncated or damaged"
        )
    return Header(metadata, header)
