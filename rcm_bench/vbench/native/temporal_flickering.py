"""Temporal flickering: how little neighbouring frames of a static video differ."""

from typing import TYPE_CHECKING

import numpy as np

from rcm_bench.vbench.native.parts import Parts

if TYPE_CHECKING:
    from numpy.typing import NDArray


def temporal_flickering(frames: "NDArray[np.uint8]") -> Parts:
    """Return (255 - mean_t mean |f_t - f_{t+1}|) / 255 of a video; each video counts once.

    Args:
        frames: uint8 of shape (T, H, W, 3), T at least 2, converted as OpenCV does.
    """
    differences = [
        # The larger less the smaller: no sign, so 8 bits hold it.
        float((np.maximum(a, b) - np.minimum(a, b)).mean(dtype=np.float64))
        for a, b in zip(frames[:-1], frames[1:], strict=True)
    ]
    return Parts((255.0 - float(np.mean(differences))) / 255.0, 1)
