"""Images and videos from elsewhere: each is read whole, and what is wrong with it is said by name.

What was found good is remembered by name, size and time of change, since a plan is asked often and
a folder of videos takes minutes to decode. The bytes are hashed again when they are stored.
"""

import importlib.util
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rcm_bench.bring.room import Room
from rcm_bench.canonical import bytes_digest, file_digest, text_digest
from rcm_bench.diffusion.digests import cache_folder, write_whole
from rcm_bench.errors import UserError
from rcm_bench.media import PictureError, decode, picture_flags, suffix_of
from rcm_bench.progress import progress

IMAGES, VIDEOS = (".png", ".jpg", ".jpeg"), (".mp4",)
SHORTEST, LONGEST = 8, 16384
"""Pixels of a side; beyond them a file is no sample."""
LEAST_FRAMES = 2
_THREADS = min(8, os.cpu_count() or 1)
_IMAGE_BYTES = 15  # bytes a pixel while an image is decoded: three of Pillow's and our array
_ROOM = Room(1 << 30)  # of all files that are decoded at one time
_HEAD_BYTES = 16  # which tell the format
_CACHE_SCHEMA = 1


class FileFaultError(Exception):
    """A file that is no sample; the message says why, without its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of a good file.

    Args:
        digest: SHA-256 of its bytes.
        num_bytes: Their number.
        format: ``"png"``, ``"jpg"`` or ``"mp4"``.
        height: Pixels.
        width: Pixels.
        frames: Frames of a video, 1 of an image.
        fps: Frames per second of a video; None for an image.
        flags: What is degenerate about the pictures.
    """

    digest: str
    num_bytes: int
    format: str
    height: int
    width: int
    frames: int
    fps: float | None
    flags: tuple[str, ...]

    def shape(self) -> str:
        """Return what all files of a set should share."""
        size = f"{self.width}x{self.height} px"
        if self.fps is None:
            return f"{size}, {self.format}"
        return f"{size}, {self.frames} frames at {self.fps:g} per second"


def shown(path: Path | str) -> str:
    """Return a path for a message; what cannot be printed is escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def check_files(paths: Sequence[Path], root: Path) -> tuple[dict[Path, Facts], dict[Path, str]]:
    """Read files, several at a time.

    Args:
        paths: The files.
        root: The folder that they lie below; names it for progress and for what is remembered.

    Returns:
        What is known of the good ones, and what is wrong with the others.

    Raises:
        UserError: There are videos, and nothing is installed that reads them.
    """
    if any(p.suffix.lower() in VIDEOS for p in paths) and not importlib.util.find_spec("av"):
        raise UserError(
            f"{shown(root)}: reading videos needs PyAV. Install it with: "
            "pip install 'rcm-bench[vbench]'"
        )
    note = cache_folder() / "brought" / f"{text_digest(str(root.resolve()))}.json"
    remembered = _recall(note)
    good: dict[Path, Facts] = {}
    faults: dict[Path, str] = {}
    todo = []
    for path in paths:
        known = _known(remembered.get(_name(path, root)), path)
        if known is None:
            todo.append(path)
        else:
            good[path] = known
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        progress(f"Checking {shown(root)}", len(todo), "files") as advance,
    ):
        for path, found in zip(todo, pool.map(_one, todo), strict=True):
            if isinstance(found, Facts):
                good[path] = found
            else:
                faults[path] = found
            advance()
    if todo:
        _remember(note, good, root)
    return {path: good[path] for path in paths if path in good}, faults


def _one(path: Path) -> Facts | str:
    try:
        return read_facts(path)
    except FileFaultError as fault:
        return str(fault)


def read_facts(path: Path) -> Facts:
    """Read one file whole.

    Raises:
        FileFaultError: It is empty, damaged, cut off, of another format than its name says, or of
            a size that no sample has.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as fault:
        raise FileFaultError(f"cannot be read ({fault.strerror})") from None
    if not head:
        raise FileFaultError("the file is empty")
    try:
        suffix = suffix_of(head)
    except ValueError:
        suffix = ""
    if suffix in ("", ".json"):
        raise FileFaultError(
            "neither a PNG or JPEG image nor an MP4 video, or its start is damaged"
        )
    named = path.suffix.lower().replace(".jpeg", ".jpg")
    if suffix != named:
        raise FileFaultError(f"its name says {named or 'nothing'}, its bytes are {suffix}")
    seen = _video(path) if suffix in VIDEOS else _image(path)
    height, width = seen["height"], seen["width"]
    if min(height, width) < SHORTEST or max(height, width) > LONGEST:
        raise FileFaultError(
            f"expected {SHORTEST} to {LONGEST} pixels a side, got {width}x{height}"
        )
    return Facts(format=suffix[1:], **seen)


def _image(path: Path) -> dict[str, Any]:
    """Return what is known of an image; its pixels are held in `_ROOM` while it is decoded."""
    with ExitStack() as held:

        def hold(width: int, height: int) -> None:
            held.enter_context(_ROOM.taken(_IMAGE_BYTES * width * height))

        try:
            array = decode(io.BytesIO(data := path.read_bytes()), check_size=hold)
        except PictureError as fault:
            raise FileFaultError(str(fault)) from None
        height, width = array.shape[:2]
        flags = tuple(picture_flags(array))
    shape = {"height": height, "width": width, "frames": 1, "fps": None, "flags": flags}
    return {"digest": bytes_digest(data), "num_bytes": len(data), **shape}


def _video(path: Path) -> dict[str, Any]:
    """Return what is known of a video, whose frames are looked at one by one."""
    from rcm_bench.video import look_at_video

    try:
        seen = look_at_video(path, least_frames=LEAST_FRAMES, room=_ROOM.taken)
    except UserError as fault:
        raise FileFaultError(str(fault).removeprefix(f"{path}: ")) from None
    return {"digest": file_digest(path), "num_bytes": path.stat().st_size, **asdict(seen)}


def odd_ones(facts: Mapping[Path, Facts]) -> dict[Path, str]:
    """Say which files differ in size, length, rate or format from most of their set."""
    counts = Counter(each.shape() for each in facts.values())
    if len(counts) < 2:
        return {}
    usual, number = counts.most_common(1)[0]
    return {
        path: f"{each.shape()}, while {number} of {len(facts)} have {usual}"
        for path, each in facts.items()
        if each.shape() != usual
    }


def _name(path: Path, root: Path) -> str:
    return os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _known(entry: Any, path: Path) -> Facts | None:
    try:
        if entry["stamp"] != _stamp(path):
            return None
        return Facts(**{**entry["facts"], "flags": tuple(entry["facts"]["flags"])})
    except (OSError, TypeError, KeyError):
        return None


def _recall(note: Path) -> dict[str, Any]:
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        return dict(found["files"]) if found["schema"] == _CACHE_SCHEMA else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _remember(note: Path, good: Mapping[Path, Facts], root: Path) -> None:
    """Keep what was found; where nothing can be written, it is found again."""
    try:
        files = {
            _name(path, root): {"stamp": _stamp(path), "facts": asdict(facts)}
            for path, facts in good.items()
        }
        text = json.dumps({"schema": _CACHE_SCHEMA, "files": files})
        write_whole(note, text.encode("utf-8"))
    except OSError:
        return
