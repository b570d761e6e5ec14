"""What the header of an MP4 file says of its video: frames, frame rate, size; nothing is decoded.

Boxes as in ISO/IEC 14496-12: ``moov`` holds a ``trak`` for each track; ``mdhd`` has its time scale,
``stts`` how many samples (here frames) there are and how long each is.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MOST_HEADER_BYTES = 16_000_000


class VideoFacts(NamedTuple):
    """Frames and frames per second of a video."""

    frames: int
    fps: float


def video_facts(path: Path) -> VideoFacts | None:
    """Return what an MP4 file says of its first video track; None if it does not say it."""
    try:
        with path.open("rb") as file:
            header = _movie_header(file)
        return next((facts for track in _all(header, b"trak") if (facts := _facts(track))), None)
    except (OSError, ValueError, IndexError, struct.error):
        return None


def _movie_header(file: BinaryIO) -> bytes:
    """Return the contents of the ``moov`` box, skipping over the media."""
    while True:
        start = file.read(8)
        if len(start) < 8:
            return b""
        size, kind = struct.unpack(">I4s", start)
        used = 8
        if size == 1:
            (size,), used = struct.unpack(">Q", file.read(8)), 16
        if kind == b"moov":
            if not used <= size <= MOST_HEADER_BYTES:
                raise ValueError("the header has no possible size")
            return file.read(size - used)
        if size < used:
            return b""
        file.seek(size - used, 1)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _all(data: bytes, kind: bytes) -> Iterator[bytes]:
    return (inner for found, inner in _boxes(data) if found == kind)


def _path(data: bytes, *kinds: bytes) -> bytes:
    for kind in kinds:
        data = next(_all(data, kind), b"")
    return data


def _facts(track: bytes) -> VideoFacts | None:
    if _path(track, b"mdia", b"hdlr")[8:12] != b"vide":
        return None
    header = _path(track, b"mdia", b"mdhd")
    (scale,) = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)
    table = _path(track, b"mdia", b"minf", b"stbl", b"stts")
    (entries,) = struct.unpack_from(">I", table, 4)
    runs = [struct.unpack_from(">II", table, 8 + 8 * i) for i in range(min(entries, len(table)))]
    frames = sum(count for count, _ in runs)
    duration = sum(count * delta for count, delta in runs)
    return VideoFacts(frames, frames * scale / duration) if frames and duration and scale else None
