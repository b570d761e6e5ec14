"""Imaging quality: MUSIQ, trained on SPAQ, on each frame."""

from typing import TYPE_CHECKING, Any

from rcm_bench.vbench.native.parts import Parts
from rcm_bench.vbench.native.pixels import chunks, musiq_pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 8


def imaging_quality(frames: "NDArray[np.uint8]", musiq: Any, device: str) -> Parts:
    """Return a video's imaging quality, mean over frames, over 100; each video counts once.

    The package's own files give a video's value on 0 to 100 and only the score on 0 to 1.

    Args:
        frames: uint8 of shape (T, H, W, 3).
        musiq: pyiqa's MUSIQ.
        device: Where it lies.
    """
    import torch

    with torch.inference_mode():
        found = [musiq(musiq_pixels(part, device)).flatten() for part in chunks(frames, BATCH)]
        return Parts(float(torch.cat(found).double().mean()) / 100, 1)
