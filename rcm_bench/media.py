"""Samples as files: one fixed PNG spelling, reading it back, and flags for degenerate samples."""

import io
from typing import TYPE_CHECKING

import numpy as np

from rcm_bench.types import Media

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CODEC = "png-1"  # PNG, RGB, 8 bits, zlib level 6, no metadata
SUFFIX = ".png"


def encode(media: Media) -> bytes:
    """Encode an image as PNG; equal pixels give equal bytes.

    Raises:
        ValueError: The array is not a uint8 image of shape (H, W, 3).
    """
    from PIL import Image

    array = media.array
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        raise ValueError(
            f"expected an image of shape (H, W, 3) and dtype uint8, "
            f"got {array.shape} and {array.dtype}"
        )
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(
        buffer, format="PNG", compress_level=6, optimize=False
    )
    return buffer.getvalue()


def decode(path: "Path") -> "NDArray[np.uint8]":
    """Read an image file as uint8 of shape (H, W, 3)."""
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB"))


def flags_of(media: Media) -> list[str]:
    """Name what is degenerate about a sample: ``non_finite``, ``one_colour``."""
    flags = [] if media.finite else ["non_finite"]
    pixels = media.array.reshape(-1, media.array.shape[-1])
    if bool((pixels == pixels[0]).all()):
        flags.append("one_colour")
    return flags
