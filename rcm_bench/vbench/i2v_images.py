"""VBench-I2V's images: where they lie, and whether all are there.

VBench's repository says where to download them. They lie as its scripts unpack them:
``crop/<aspect>/<name>``. Models begin from the very images that their videos are compared with.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rcm_bench.canonical import file_digest
from rcm_bench.errors import MissingError, UserError
from rcm_bench.features.pinned import check_digest
from rcm_bench.vbench.environment import weights_folder

WHERE = "RCM_BENCH_I2V_IMAGES"
"""Environment variable that names the folder holding ``crop``."""
ASPECTS = ("1-1", "8-5", "7-4", "16-9")
COMPARED = ("i2v_subject", "i2v_background")
"""The dimensions that compare a video with the image it begins from."""
_SHOWN = 3
_SHORT = 16


def images_folder() -> Path:
    """Return the folder that holds ``crop``; by default ``i2v_images`` beside VBench's weights."""
    given = os.environ.get(WHERE)
    return Path(given) if given else weights_folder() / "i2v_images"


def crops(aspect: str) -> Path:
    """Return the folder of the images of an aspect ratio, such as ``"16-9"``."""
    return images_folder() / "crop" / aspect


def check_images(names: Iterable[str], aspect: str, where: str) -> None:
    """Refuse a set of images that lacks some.

    Args:
        names: Names of the images that are needed.
        aspect: Which crops, such as ``"16-9"``.
        where: File and key of the benchmark, for messages.

    Raises:
        MissingError: Names the first that lack, and says where they are looked for.
    """
    folder = crops(aspect)
    needed = sorted(set(names))
    lost = [name for name in needed if not (folder / name).is_file()]
    if lost:
        more = ", ..." if len(lost) > _SHOWN else ""
        shown = ", ".join(repr(name) for name in lost[:_SHOWN])
        raise MissingError(
            f"{where}: {folder}: lacks {len(lost)} of VBench-I2V's {len(needed)} images "
            f"({shown}{more}); VBench's repository says where they are; {WHERE} names the folder "
            "that holds 'crop'"
        )


def image_digests(
    names: Iterable[str], aspect: str, expected: Mapping[str, str], where: str
) -> dict[str, str]:
    """Return the SHA-256 of images by name.

    Args:
        names: Names of images.
        aspect: Which crops.
        expected: Digests that some of them must have.
        where: File and key of the benchmark, for messages.

    Raises:
        UserError: An image is not there, or has another digest.
    """
    needed = sorted(set(names))
    check_images(needed, aspect, where)
    for name in needed:
        check_digest(crops(aspect) / name, expected.get(name), f"{where}.images")
    return {name: expected.get(name) or file_digest(crops(aspect) / name) for name in needed}


def check_begun(
    names: Mapping[str, str],
    begins: Callable[[str], Path | None],
    aspect: str,
    model: str,
    where: str,
) -> None:
    """Refuse a model that begins from other images than those its videos are compared with.

    Args:
        names: Name of the image of each prompt, by prompt id; all are there.
        begins: Gives the file that the model begins a prompt's videos from; None for none.
        aspect: Which crops they are compared with.
        model: Name of the model.
        where: File and key of the benchmark, for messages.

    Raises:
        UserError: Names the first pair of files that differ, with their digests.
    """
    pairs = {
        (path, crops(aspect) / name)
        for prompt_id, name in names.items()
        if (path := begins(prompt_id)) is not None
    }
    differing = [
        (own, theirs, digests)
        for own, theirs in sorted(pairs)
        if not own.samefile(theirs)
        and len(set(digests := (file_digest(own), file_digest(theirs)))) > 1
    ]
    if differing:
        own, theirs, (began, compared) = differing[0]
        raise UserError(
            f"{where}: model '{model}' begins from {own} (SHA-256 {began[:_SHORT]}), and its "
            f"videos are compared with {theirs} (SHA-256 {compared[:_SHORT]}): expected the same "
            f"image, {len(differing)} of {len(pairs)} differ; let 'image_folder' name "
            f"{crops(aspect)}, or {WHERE} and 'aspect' the images that it began from"
        )
