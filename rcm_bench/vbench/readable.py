"""Videos of a folder that the package is to score: each is read whole first, or refused by name.

The package itself ends with a traceback at the first video that it cannot read, hours later.
"""

from collections.abc import Sequence
from pathlib import Path

from rcm_bench.bring.files import LEAST_FRAMES, VIDEOS, check_files, odd_ones, shown
from rcm_bench.errors import UserError

_SHOWN = 20


def check_videos(paths: Sequence[Path], folder: Path, *, mixed: bool) -> None:
    """Read every video.

    Args:
        paths: The videos.
        folder: Where they lie; what was found good there is remembered.
        mixed: Whether they may differ in size, length and rate.

    Raises:
        UserError: Names those that are empty, damaged, cut off, too short or of an odd size.
    """
    good, faults = check_files([p for p in paths if p.suffix.lower() in VIDEOS], folder)
    for path in paths:
        if path.suffix.lower() not in VIDEOS and (fault := _animation(path)):
            faults[path] = fault
    if not mixed:
        faults |= odd_ones(good)
    if faults:
        lines = [f"{shown(path)}: {why}" for path, why in sorted(faults.items())]
        more = len(lines) - _SHOWN
        raise UserError(
            "\n".join([*lines[:_SHOWN], *([f"and {more} more such videos"] if more > 0 else [])])
        )


def _animation(path: Path) -> str:
    """Say what is wrong with a GIF; nothing if all its frames can be read."""
    from PIL import Image

    if not path.stat().st_size:
        return "the file is empty"
    try:
        with Image.open(path, formats=["GIF"]) as image:
            count = getattr(image, "n_frames", 1)
            for index in range(count):
                image.seek(index)
                image.load()
    except Exception as fault:  # Pillow raises what it likes on damaged files
        return f"not a whole GIF ({str(fault) or type(fault).__name__})"
    return "" if count >= LEAST_FRAMES else f"expected at least {LEAST_FRAMES} frames, got {count}"
