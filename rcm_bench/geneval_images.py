"""Images for GenEval's detector: read strictly, some at a time, ahead of their use."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORTEST, LONGEST = 32, 8192
"""Pixels of an image's sides; beyond them it is no answer to a prompt."""
MOST_ELONGATED = 8.0
_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")


class ImageError(ValueError):
    """An image that cannot be judged; the message names the file and says why."""


def read_image(path: Path) -> "NDArray[np.uint8]":
    """Read a PNG file upright, as uint8 of shape (H, W, 3).

    Raises:
        ImageError: The file is missing, empty, damaged, of another format, or of an odd size.
    """
    from PIL import Image, ImageOps

    try:
        size = path.stat().st_size
    except OSError as fault:
        raise ImageError(f"{path.name}: cannot be read ({fault.strerror})") from None
    if size == 0:
        raise ImageError(f"{path.name}: the file is empty")
    try:
        with Image.open(path, formats=["PNG"]) as image:
            _check(image.size, image.mode, path.name)
            upright = ImageOps.exif_transpose(image)
            return np.array(upright.convert("RGB"))
    except ImageError:
        raise
    except Exception as fault:  # Pillow raises what it likes on damaged files
        raise ImageError(f"{path.name}: not a whole PNG image ({fault})") from None


def _check(size: tuple[int, int], mode: str, name: str) -> None:
    width, height = size
    if min(size) < SHORTEST or max(size) > LONGEST or max(size) > MOST_ELONGATED * min(size):
        raise ImageError(
            f"{name}: expected {SHORTEST} to {LONGEST} pixels a side, one at most "
            f"{MOST_ELONGATED:g} times the other, got {width}x{height}"
        )
    if mode not in _MODES:
        raise ImageError(f"{name}: expected 8 bits a channel, got mode {mode}")


def read_ahead(paths: Sequence[Path], pool: Executor) -> "Iterator[NDArray[np.uint8] | ImageError]":
    """Read images on other threads, and yield them, or what is wrong with them, in order."""

    def one(path: Path) -> "NDArray[np.uint8] | ImageError":
        try:
            return read_image(path)
        except ImageError as fault:
            return fault

    yield from pool.map(one, paths)
