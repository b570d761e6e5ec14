"""Stored samples beside the page: found safely, named by their content, linked or copied."""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["image", "video"]
FOLDER = "media"
# What a file of this suffix begins with: (offset, bytes).
KINDS: Mapping[str, tuple[Kind, int, bytes]] = {
    ".png": ("image", 0, b"\x89PNG\r\n\x1a\n"),
    ".jpg": ("image", 0, b"\xff\xd8\xff"),
    ".jpeg": ("image", 0, b"\xff\xd8\xff"),
    ".webp": ("image", 8, b"WEBP"),
    ".mp4": ("video", 4, b"ftyp"),
    ".webm": ("video", 0, b"\x1a\x45\xdf\xa3"),
}
DIGEST = re.compile(r"[0-9a-f]{64}")
DIGEST_LENGTH = 32
NAME = re.compile(rf"[0-9a-f]{{{DIGEST_LENGTH}}}")


class Medium(NamedTuple):
    """A stored image or video.

    Attributes:
        path: Where it lies.
        name: Its name beside the page: the first 128 bits of its SHA-256, and its suffix.
        kind: Image or video.
    """

    path: Path
    name: str
    kind: Kind


def blob_path(
    run_dir: Path | None, row: Mapping[str, Any] | None, column: str = "blob"
) -> Path | None:
    """Return the file that a row names; None where there is none, or where it leaves its folder.

    Args:
        run_dir: Folder of the run.
        row: A row of the table of samples; where several runs are joined, its ``run_dir`` is the
            folder that its own blobs lie in.
        column: Column that holds the path.
    """
    named = (row or {}).get(column)
    own = (row or {}).get("run_dir")
    folder = own if isinstance(own, (str, Path)) and own else run_dir
    if not isinstance(named, str) or not named or folder is None:
        return None
    root = _resolved(os.path.abspath(folder))
    try:
        path = (root / named).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
    except (OSError, ValueError):  # a name that no file can have
        return None


@lru_cache(maxsize=64)
def _resolved(folder: str) -> Path:
    return Path(folder).resolve()


def medium(path: Path | None) -> Medium | None:
    """Return a file as a medium; None if it is not what its suffix says.

    The store names files by their SHA-256; a file with any other name is read for its own.
    """
    known = KINDS.get(path.suffix.lower()) if path else None
    if path is None or known is None:
        return None
    kind, offset, magic = known
    try:
        with path.open("rb") as file:
            if file.read(offset + len(magic))[offset:] != magic:
                return None
            file.seek(0)
            own = path.stem if DIGEST.fullmatch(path.stem) else None
            digest = own or hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    return Medium(path, digest[:DIGEST_LENGTH] + path.suffix.lower(), kind)


def put_media(media: Mapping[str, Path], folder: Path) -> None:
    """Put files beside the page under their names: a hard link, or a copy on another disk."""
    if media:
        folder.mkdir(parents=True, exist_ok=True)
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    for name, path in media.items():
        if name in there:
            continue
        temporary = folder / f".{name}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
        os.replace(temporary, folder / name)


def drop_media(media: Mapping[str, Path], page: Path) -> None:
    """Delete files of an older page at the same place: ours by their names, and no longer wanted.

    Nothing is deleted where other pages lie in the folder, since they share it.
    """
    folder = page.parent / FOLDER
    if not folder.is_dir() or any(other != page for other in page.parent.glob("*.html")):
        return
    for name in set(os.listdir(folder)) - set(media):
        stem, dot, suffix = name.partition(".")
        if NAME.fullmatch(stem) and f"{dot}{suffix}" in KINDS:
            (folder / name).unlink(missing_ok=True)
