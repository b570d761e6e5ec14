"""VBench-I2V's images as the first frames that models of image to video take.

A model's ``image_folder`` holds one PNG for each prompt by its place in the set, ``00000.png`` and
so on, of the size of its videos. VBench-I2V's crops have the aspect ratio that is nearest, not that
size: they are cut to the size's own ratio around their centre, then resized (Lanczos, by Pillow).
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcm_bench.errors import UserError, unknown_name
from rcm_bench.vbench.dimensions import I2V
from rcm_bench.vbench.i2v_images import check_images, images_folder
from rcm_bench.vbench.prompts import read_i2v_rows


def write_first_frames(
    info: Path, aspect: str, size: tuple[int, int], out: Path, dimensions: Sequence[str] = ()
) -> list[Path]:
    """Write one image for each prompt; prompts of one image share one file where links are known.

    Args:
        info: VBench-I2V's file of prompts.
        aspect: Which crops, such as ``"16-9"``.
        size: Height and width of the videos.
        out: A folder that is not there or is empty.
        dimensions: Those of ``prompts.dimensions`` in the suite; all by default.

    Returns:
        The files written, by the place of their prompts.

    Raises:
        UserError: A file is missing, damaged or another, a dimension is unknown, or the folder
            holds something.
    """
    for name in dimensions:
        if name not in I2V:
            raise unknown_name("first-frames", "VBench dimension", name, I2V)
    if min(size) < 1:
        raise UserError(f"first-frames: expected a height and a width from 1 on, got {size}")
    rows = read_i2v_rows(info)
    kept = [row for row in rows if not dimensions or set(row.dimensions) & set(dimensions)]
    check_images([str(row.image) for row in kept], aspect, "first-frames")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: expected a new or an empty folder")
    temporary = out.with_name(f".{out.name}.tmp")  # whole or not there
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    first: dict[str, Path] = {}
    names = [f"{place:05d}.png" for place in range(len(kept))]
    for row, name in zip(kept, names, strict=True):
        image, path = str(row.image), temporary / name
        if image in first:
            _again(first[image], path)
        else:
            _frame(images_folder() / "crop" / aspect / image, size).save(path, format="PNG")
            first[image] = path
    os.replace(temporary, out)
    return [out / name for name in names]


def _frame(path: Path, size: tuple[int, int]) -> Any:
    """Return an image cut around its centre and resized.

    Raises:
        UserError: It is no whole image.
    """
    from PIL import Image, ImageOps

    height, width = size
    try:
        with Image.open(path, formats=["JPEG", "PNG"]) as image:
            return ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
    except Exception as fault:  # Pillow raises what it likes on damaged files
        said = str(fault) or type(fault).__name__
        raise UserError(f"{path}: not a whole image ({said})") from None


def _again(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())
