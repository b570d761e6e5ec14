"""Digests of large files, remembered by path, size and time of change: a plan is asked often."""

import contextlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rcm_bench.canonical import digest_of, file_digest, text_digest

_READERS = 8
_MIN_BYTES = 64 << 20  # smaller files are read faster than it matters


def cache_folder() -> Path:
    """Return our cache folder: ``RCM_BENCH_CACHE``, else ``rcm_bench`` in the user's caches."""
    if given := os.environ.get("RCM_BENCH_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rcm_bench"


def remembered_digest(path: Path) -> str:
    """Return the SHA-256 of a file; one that has not changed is not read again."""
    status = path.stat()
    if status.st_size < _MIN_BYTES:
        return file_digest(path)
    stamp = [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]
    note = cache_folder() / "digests" / f"{text_digest(json.dumps(stamp))}.txt"
    if note.is_file() and len(known := note.read_text(encoding="ascii").strip()) == 64:
        return known
    digest = file_digest(path)
    with contextlib.suppress(OSError):  # where nothing can be written, the file is read again
        write_whole(note, digest.encode("ascii"))
    return digest


def files_digest(files: Iterable[Path]) -> str:
    """Return one digest for several files, whatever their names and folders.

    Shards are read side by side: one at a time they wait for one core.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        return digest_of(sorted(pool.map(remembered_digest, files)))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of the cache whole or not at all, also beside other processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)
