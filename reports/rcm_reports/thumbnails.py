"""Small pictures inside the page."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

PIXEL_ART_SIDE = 96
THUMBNAIL_SIDE = 128


class Thumbnail(NamedTuple):
    """An image as a data URI with the size of the original."""

    uri: str
    width: int
    height: int


def thumbnail(path: Path | None) -> Thumbnail | None:
    """Return an image as a data URI: lossless up to 96 px, else smaller; None if it is broken."""
    if path is None:
        return None
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            if max(width, height) > PIXEL_ART_SIDE:
                opened.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
            image = opened.convert("RGB")
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    if max(width, height) > PIXEL_ART_SIDE:
        image.thumbnail(
            (THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0
        )
        image.save(buffer, "WEBP", quality=78, method=2)
    else:
        image.save(buffer, "WEBP", lossless=True, quality=60, method=2, exact=True)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(f"data:image/webp;base64,{encoded}", width, height)
