"""Images for GenEval's detector: read strictly, some at a time, ahead of their use."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from rcm_bench.media import PictureError, decode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHORTEST, LONGEST = 32, 8192
"""Pixels of an image's sides; beyond them it is no answer to a prompt."""
MOST_ELONGATED = 8.0


class ImageError(ValueError):
    """An image that cannot be judged; the message names the file and says why."""


def read_image(path: Path) -> "NDArray[np.uint8]":
    """Read a PNG file upright, as uint8 of shape (H, W, 3).

    Raises:
        ImageError: The file is missing, empty, damaged, of another format, or of an odd size.
    """
    try:
        size = path.stat().st_size
    except OSError as fault:
        raise ImageError(f"{path.name}: cannot be read ({fault.strerror})") from None
    if size == 0:
        raise ImageError(f"{path.name}: the file is empty")
    try:
        return decode(path, ("PNG",), _check_size)
    except PictureError as fault:
        raise ImageError(f"{path.name}: {fault}") from None


def _check_size(width: int, height: int) -> None:
    short, long = sorted((width, height))
    if short < SHORTEST or long > LONGEST or long > MOST_ELONGATED * short:
        raise PictureError(
            f"expected {SHORTEST} to {LONGEST} pixels a side, one at most "
            f"{MOST_ELONGATED:g} times the other, got {width}x{height}"
        )


def read_ahead(paths: Sequence[Path], pool: Executor) -> "Iterator[NDArray[np.uint8] | ImageError]":
    """Read images on other threads, and yield them, or what is wrong with them, in order."""

    def one(path: Path) -> "NDArray[np.uint8] | ImageError":
        try:
            return read_image(path)
        except ImageError as fault:
            return fault

    yield from pool.map(one, paths)
