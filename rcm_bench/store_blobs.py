"""Content-addressed files: written whole and durably, or not at all; checked when read."""

import os
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rcm_bench.canonical import bytes_digest

# Waits for the disk that stand side by side share one commit of its journal; one after another
# they take four to eight times as long (reports/gallery/scale/storing.csv).
_WRITERS = 16


class CorruptBlobError(Exception):
    """A stored file is missing or does not match its digest."""


def fsync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk; a failed write leaves nothing behind."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


class Blobs:
    """The folder ``blobs/ab/<sha256><suffix>`` of a run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Return where a blob of this name lies."""
        return self.root / name[:2] / name

    def names(self) -> set[str]:
        """Return the names of all blobs that are there."""
        if not self.root.is_dir():
            return set()
        folders = [entry.path for entry in os.scandir(self.root) if entry.is_dir()]
        return {entry.name for folder in folders for entry in os.scandir(folder)}

    def put(self, contents: Sequence[bytes], suffix: Callable[[bytes], str]) -> list[str]:
        """Store files durably.

        Each is written to a temporary name and synced, several at a time; when all are on the
        disk they are renamed, and their folders are synced. A file that is already there is
        written again, which also mends one that was damaged.

        Args:
            contents: The files.
            suffix: Gives the suffix of a file, such as ``".png"``, from its bytes.

        Returns:
            Their names: digest and suffix.
        """
        names = [bytes_digest(data) + suffix(data) for data in contents]
        targets = [self.path(name) for name in names]
        folders = {target.parent for target in targets}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        temporary = [target.with_name(f".{uuid.uuid4().hex}.tmp") for target in targets]
        with ThreadPoolExecutor(_WRITERS) as pool:
            try:
                list(pool.map(write_file, temporary, contents))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                for path in temporary:
                    path.unlink(missing_ok=True)
                raise
            for path, target in zip(temporary, targets, strict=True):
                os.replace(path, target)
            list(pool.map(fsync_folder, folders | {self.root}))
        return names

    def read(self, name: str) -> bytes:
        """Read a blob and check it against its digest.

        Raises:
            CorruptBlobError: It is missing, or holds something else.
        """
        path = self.path(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise CorruptBlobError(f"{path}: no such file") from None
        if bytes_digest(data) != name.partition(".")[0]:
            raise CorruptBlobError(f"{path}: does not match its digest")
        return data

    def discard(self, name: str) -> None:
        """Move a damaged blob aside, so that its sample counts as missing."""
        path = self.path(name)
        if path.exists():
            os.replace(path, path.with_name(f".{name}.damaged"))
