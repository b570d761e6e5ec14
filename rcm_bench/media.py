"""Samples as files: one fixed spelling of images, reading it back, flags for degenerate ones."""

import io
from typing import TYPE_CHECKING

import numpy as np

from rcm_bench.types import Media

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CODEC = "png-1"  # PNG, RGB, 8 bits, zlib level 6, no metadata
SUFFIX = ".png"


def suffix_of(data: bytes) -> str:
    """Return the suffix of an encoded sample, told by its first bytes."""
    return ".mp4" if data[4:8] == b"ftyp" else SUFFIX


def encode(media: Media) -> bytes:
    """Encode an image as PNG, a video as MP4; equal pixels give equal bytes.

    Raises:
        ValueError: The array is neither a uint8 image of shape (H, W, 3) nor a video.
    """
    from PIL import Image

    array = media.array
    if array.ndim == 4:
        from rcm_bench.video_files import encode_video

        return encode_video(media)
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
    """Name what is degenerate about a sample: ``non_finite``, ``one_colour``, ``frozen``."""
    flags = [] if media.finite else ["non_finite"]
    pixels = media.array.reshape(-1, media.array.shape[-1])
    if bool((pixels == pixels[0]).all()):
        flags.append("one_colour")
    if (
        media.array.ndim == 4
        and len(media.array) > 1
        and bool((media.array == media.array[0]).all())
    ):
        flags.append("frozen")
    return flags
