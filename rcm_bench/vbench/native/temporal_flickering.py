"""Temporal flickering: how little neighbouring frames of a static video differ."""

from typing import TYPE_CHECKING

from rcm_bench.vbench.native.parts import Parts

if TYPE_CHECKING:
    from torch import Tensor


def temporal_flickering(frames: "Tensor") -> Parts:
    """Return (255 - mean_t mean |f_t - f_{t+1}|) / 255 of a video; each video counts once.

    Args:
        frames: uint8 of shape (T, H, W, 3), T at least 2, converted as OpenCV does.
    """
    import torch

    before, after = frames[:-1], frames[1:]
    # The larger less the smaller: no sign, so 8 bits hold it; sums of whole numbers are exact.
    levels = (torch.maximum(before, after) - torch.minimum(before, after)).sum(dtype=torch.int64)
    return Parts((255.0 - int(levels) / before.numel()) / 255.0, 1)
