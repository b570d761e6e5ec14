"""VBench-I2V's images: where they lie, and whether all are there.

VBench's repository says where to download them. They lie as its scripts unpack them:
``crop/<aspect>/<name>``.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from rcm_bench.errors import UserError
from rcm_bench.vbench.environment import weights_folder

WHERE = "RCM_BENCH_I2V_IMAGES"
"""Environment variable that names the folder holding ``crop``."""
ASPECTS = ("1-1", "8-5", "7-4", "16-9")
_SHOWN = 3


def images_folder() -> Path:
    """Return the folder that holds ``crop``; by default ``i2v_images`` beside VBench's weights."""
    given = os.environ.get(WHERE)
    return Path(given) if given else weights_folder() / "i2v_images"


def check_images(names: Iterable[str], aspect: str, where: str) -> None:
    """Refuse a set of images that lacks some.

    Args:
        names: Names of the images that are needed.
        aspect: Which crops, such as ``"16-9"``.
        where: File and key of the benchmark, for messages.

    Raises:
        UserError: Names the first that lack, and says where they are looked for.
    """
    folder = images_folder() / "crop" / aspect
    needed = sorted(set(names))
    lost = [name for name in needed if not (folder / name).is_file()]
    if lost:
        more = ", ..." if len(lost) > _SHOWN else ""
        shown = ", ".join(repr(name) for name in lost[:_SHOWN])
        raise UserError(
            f"{where}: {folder}: lacks {len(lost)} of VBench-I2V's {len(needed)} images "
            f"({shown}{more}); VBench's repository says where they are; {WHERE} names the folder "
            "that holds 'crop'"
        )
