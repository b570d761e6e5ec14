"""The static filter: which videos temporal flickering is measured on, by RAFT's optical flow."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rcm_bench.vbench.native.flow import Flow

if TYPE_CHECKING:
    from torch import Tensor

TOP = 0.02
PIXELS_AT_256 = 3.0


def stands(
    neighbours: Iterable[float],
    far: Iterable[float],
    num_frames: int,
    shorter_side: int,
) -> bool:
    """Say whether a video is static: few pairs are fast, and its ends are near each other.

    The two far pairs are looked at first: both conditions must hold, so the order changes nothing,
    and a video that ends elsewhere needs no more. Neighbours are looked at until too many are fast,
    or those that are left could not make them too many.

    Args:
        neighbours: Speed of each pair of neighbouring frames, in pixels.
        far: Speed from the first frame to the last, and back.
        num_frames: Number of all frames.
        shorter_side: Shorter side of the video in pixels.
    """
    threshold = PIXELS_AT_256 * shorter_side / 256
    allowed = round(2 * num_frames / 16)
    if any(magnitude > threshold * allowed * 2 for magnitude in far):
        return False
    left = num_frames - 1
    for magnitude in neighbours:
        allowed -= magnitude > threshold
        left -= 1
        if allowed < 0 or left <= allowed:
            break
    return allowed >= 0


def is_static(frames: "Tensor", flow: Flow) -> bool:
    """Say whether VBench's filter keeps a video.

    Args:
        frames: uint8 of shape (T, H, W, 3), T at least 2, converted as OpenCV does.
        flow: RAFT.
    """
    last = len(frames) - 1
    far = flow.magnitudes(frames, [(0, last), (last, 0)], TOP)
    neighbours = flow.magnitudes(frames, [(t, t + 1) for t in range(last)], TOP)
    return stands(neighbours, far, len(frames), min(frames.shape[1:3]))
