"""Distributed checkpoints of PyTorch (DCP) in one process, without unpickling free code.

PyTorch reads the table of contents with plain ``pickle.load``, which runs whatever a file asks
for. Here only the classes that describe tensors can be named in it; tensors themselves PyTorch
reads with ``weights_only``.
"""

import io
import pickle
from enum import EnumMeta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from rcm_bench.errors import UserError
from rcm_bench.faults import first_line

_ALLOWED = {
    "torch": {"Size", "device", "_utils"},
    "torch.distributed.checkpoint.metadata": {
        *("Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "TensorProperties"),
        *("ChunkStorageMetadata", "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING"),
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo", "_StoragePrefix"},
    "torch.serialization": {"_get_layout"},
    "collections": {"OrderedDict"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath"},
    "pathlib._local": {"Path", "PosixPath", "PurePosixPath"},
}
_DTYPES = {name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}


def _member(kind: Any, name: str) -> Any:
    """Return a member of an enumeration, in place of Python's ``getattr``, which gives anything."""
    if isinstance(kind, EnumMeta) and name in kind.__members__:
        return kind[name]
    raise pickle.UnpicklingError(
        f"{getattr(kind, '__name__', kind)}.{name} does not describe tensors"
    )


class _Contents(pickle.Unpickler):
    """An unpickler that knows only what describes tensors."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class of the list; anything else is an error."""
        if name in _ALLOWED.get(module, ()) or (module == "torch" and name in _DTYPES):
            return super().find_class(module, name)
        if (module, name) == ("builtins", "getattr"):  # Python before 3.11.4 names members by it
            return _member
        raise pickle.UnpicklingError(f"{module}.{name} does not describe tensors")


class _Reader(FileSystemReader):
    """PyTorch's reader with a safe table of contents."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read the table of contents."""
        data = (Path(self.path) / ".metadata").read_bytes()
        metadata = _Contents(io.BytesIO(data)).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError(f"expected Metadata, got {type(metadata).__name__}")
        return metadata


def read_distributed(folder: Path, place: str) -> dict[str, Tensor]:
    """Read every tensor of a distributed checkpoint onto the CPU.

    Args:
        folder: Folder with ``.metadata`` and ``.distcp`` files.
        place: File, line and key, for messages.

    Raises:
        UserError: It cannot be read, or names what is no tensor's description.
    """
    reader = _Reader(folder)
    try:
        contents = reader.read_metadata().state_dict_metadata
        tensors = {
            name: torch.empty(entry.size, dtype=entry.properties.dtype)
            for name, entry in contents.items()
            if isinstance(entry, TensorStorageMetadata)
        }
        load(tensors, storage_reader=reader, planner=DefaultLoadPlanner(), no_dist=True)
    # PyTorch wraps what goes wrong in classes of its own, of which one is no Exception.
    except (Exception, CheckpointException) as caught:
        fault: BaseException = caught
        if isinstance(caught, CheckpointException):
            fault = next(iter(caught.failures.values()), (caught,))[0]
        raise UserError(f"{place}: {folder}: cannot be read: {first_line(fault)}") from None
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
