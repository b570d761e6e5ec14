"""Samples as files: one fixed spelling of images, reading it back, flags for degenerate ones."""

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from rcm_bench.types import Media

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CODEC = "png-1"  # PNG, RGB, 8 bits, zlib level 6, no metadata
SUFFIX = ".png"


_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")
_FIRST_PIXELS = 4096
# What a stored sample begins with: (suffix, offset, bytes).
_MAGIC = (
    (SUFFIX, 0, b"\x89PNG\r\n\x1a\n"),
    (".jpg", 0, b"\xff\xd8\xff"),
    (".mp4", 4, b"ftyp"),
    (".json", 0, b"{"),
)


def suffix_of(data: bytes) -> str:
    """Return the suffix of a sample's file, told by its first bytes.

    Raises:
        ValueError: It is none of PNG, JPEG, MP4, and no JSON object.
    """
    for suffix, offset, magic in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return suffix
    raise ValueError("expected a PNG or JPEG image, an MP4 video, or a JSON object")


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


class PictureError(ValueError):
    """A file that is no whole picture; the message says why, without its name."""


def decode(
    source: "Path | BinaryIO",
    formats: Sequence[str] = ("PNG", "JPEG"),
    check_size: Callable[[int, int], None] | None = None,
) -> "NDArray[np.uint8]":
    """Read an image upright, as uint8 of shape (H, W, 3).

    Args:
        source: The file.
        formats: Which it may have, as Pillow calls them.
        check_size: Is given width and height before anything is decoded, and raises.

    Raises:
        PictureError: It is damaged, of another format, has not 8 bits a channel, or several frames.
    """
    from PIL import Image, ImageOps

    kind = f" {formats[0]}" if len(formats) == 1 else ""
    try:
        with Image.open(source, formats=list(formats)) as image:
            if check_size is not None:
                check_size(*image.size)
            check_kind(image)
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except PictureError:
        raise
    except Exception as fault:  # Pillow raises what it likes on damaged files
        said = str(fault) or type(fault).__name__
        raise PictureError(f"not a whole{kind} image ({said})") from None


def check_kind(image: Any) -> None:
    """Refuse an opened image of Pillow that is no single picture of 8 bits a channel.

    Raises:
        PictureError: Says what it is.
    """
    if image.mode not in _MODES:
        raise PictureError(f"expected 8 bits a channel, got mode {image.mode}")
    if (count := getattr(image, "n_frames", 1)) != 1:
        raise PictureError(f"expected one picture, got {count}")


def flags_of(media: Media) -> list[str]:
    """Name what is degenerate about a sample: ``non_finite``, ``one_colour``, ``frozen``."""
    return [*([] if media.finite else ["non_finite"]), *picture_flags(media.array)]


def picture_flags(array: "NDArray[np.uint8]") -> list[str]:
    """Name what is degenerate about pixels of shape ([T,] H, W, 3)."""
    flags = []
    if _all_are(array.reshape(-1, array.shape[-1]), _FIRST_PIXELS):
        flags.append("one_colour")
    if array.ndim == 4 and len(array) > 1 and _all_are(array, 2):
        flags.append("frozen")
    return flags


def _all_are(parts: "NDArray[np.uint8]", num_first: int) -> bool:
    """Say whether all equal the first; a look at some spares most samples the look at all."""
    first = parts[0]
    return bool((parts[:num_first] == first).all()) and bool((parts == first).all())
