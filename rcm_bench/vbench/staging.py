"""A fresh folder of videos under the names that VBench looks for: ``{prompt}-{i}.mp4``.

VBench finds videos by the text of the original prompt and only warns where one is missing; a file
left from another run would be scored. So the folder is made anew, from samples that are known by
digest, and its contents are counted before anything is scored.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rcm_bench.errors import UserError

SUFFIXES = (".mp4", ".gif")
MAX_NAME_BYTES = 255
_SHOWN = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """One video to be staged.

    Args:
        prompt: Its original prompt; text from outside.
        index: Which video of its prompt, from 0.
        path: Where the file lies.
    """

    prompt: str
    index: int
    path: Path


def staged_name(video: Video) -> str:
    """Return the name that VBench looks for.

    Raises:
        UserError: The prompt cannot be a file name, or the file is no video.
    """
    suffix = video.path.suffix.lower()
    shown = repr(video.prompt[:_SHOWN])
    if suffix not in SUFFIXES:
        raise UserError(
            f"{video.path}: expected a video ({' or '.join(SUFFIXES)}), got '{suffix}': "
            "VBench scores videos"
        )
    if not video.prompt or not video.prompt.isprintable():
        raise UserError(
            f"prompt {shown}: cannot name a file: it is empty or holds a line break or another "
            "control character"
        )
    if "/" in video.prompt or "\\" in video.prompt or video.prompt.startswith("."):
        raise UserError(
            f"prompt {shown}: cannot name a file: it holds a slash, or starts with a dot"
        )
    name = f"{video.prompt}-{video.index}{suffix}"
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise UserError(f"prompt {shown}: cannot name a file: it is no Unicode text") from None
    if size > MAX_NAME_BYTES:
        raise UserError(
            f"prompt {shown}...: cannot name a file: expected at most {MAX_NAME_BYTES} bytes with "
            f"number and suffix, got {size}; VBench names videos by the original prompt, not by a "
            "rewritten one"
        )
    return name


def stage(videos: Sequence[Video], folder: Path) -> dict[str, Video]:
    """Make a fresh folder of links to the videos.

    Args:
        videos: The videos; no two of one prompt and index.
        folder: A folder that does not exist yet.

    Returns:
        The staged videos by name.

    Raises:
        UserError: A name is not possible, comes twice, or the folder cannot tell two apart.
    """
    named: dict[str, Video] = {}
    for video in videos:
        name = staged_name(video)
        if name in named:
            raise UserError(
                f"{video.path}: video {video.index} of prompt {video.prompt[:_SHOWN]!r} comes "
                f"twice; the other is {named[name].path}"
            )
        named[name] = video
    if len({video.path.suffix.lower() for video in videos}) > 1:
        raise UserError(
            f"{folder}: expected videos of one kind, got .mp4 and .gif: VBench looks for the "
            "suffix of whichever file comes first"
        )
    folder.mkdir(parents=True)
    _check_case(named, folder)
    for name, video in named.items():
        _place(video.path, folder / name)
    return named


def _check_case(names: Iterable[str], folder: Path) -> None:
    """Refuse names that differ by case alone where the file system sees one file in both."""
    seen: dict[str, str] = {}
    twins = [(seen[k], n) for n in names if seen.setdefault(k := n.casefold(), n) != n]
    if twins and not tells_case(folder):
        raise UserError(
            f"{folder}: '{twins[0][0]}' and '{twins[0][1]}' are one file on this file system, "
            "which does not tell upper from lower case; put the run on another one"
        )


def tells_case(folder: Path) -> bool:
    """Say whether a folder tells names apart that differ by case alone."""
    probe = folder / ".case-a"
    probe.touch()
    try:
        return not (folder / ".CASE-A").exists()
    finally:
        probe.unlink()


def _place(source: Path, target: Path) -> None:
    """Link to a video; copy it where the file system has no links."""
    if not source.is_file():
        raise UserError(f"{source}: no such video")
    if not source.stat().st_size:
        raise UserError(f"{source}: expected a video, got an empty file")
    try:
        os.symlink(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def check_names(
    found: Iterable[tuple[str, int]],
    needed: Sequence[tuple[str, int]],
    known: Iterable[tuple[str, int]],
    where: str,
) -> None:
    """Refuse a folder that lacks videos, or holds others.

    Args:
        found: Prompt and number of each video in the folder.
        needed: Those that must be there.
        known: Those that may be there.
        where: The folder, for the message.

    Raises:
        UserError: Names the first missing and the first foreign videos, and counts them.
    """
    there = set(found)
    missing = [video for video in needed if video not in there]
    foreign = sorted(there - set(known))
    said = []
    if missing:
        said.append(f"{len(missing)} of {len(needed)} videos are missing ({_some(missing)})")
    if foreign:
        said.append(f"{len(foreign)} videos are not of this set ({_some(foreign)})")
    if said:
        raise UserError(f"{where}: " + "; ".join(said))


def _some(videos: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(repr(f"{prompt}-{index}") for prompt, index in videos[:3])
    return f"{shown}, ..." if len(videos) > 3 else shown
