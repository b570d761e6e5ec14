"""Dynamic degree: whether a video moves, by RAFT's optical flow."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rcm_bench.vbench.native.flow import Flow
from rcm_bench.vbench.native.parts import Parts

if TYPE_CHECKING:
    from torch import Tensor

TOP = 0.05
"""Share of the pixels, the fastest, whose mean speed stands for a pair of frames."""
FRAMES_PER_SECOND = 8
PIXELS_AT_256 = 6.0


def chosen(num_frames: int, fps: float) -> range:
    """Return which frames are compared: about 8 a second. Halves round to even, as Python does."""
    return range(0, num_frames, max(1, round(fps / FRAMES_PER_SECOND)))


def moves(magnitudes: Iterable[float], num_frames: int, shorter_side: int) -> bool:
    """Say whether a video is dynamic: enough pairs of frames are faster than a threshold.

    Magnitudes are taken one by one, and no more of them than the answer needs. With two frames the
    number of pairs needed rounds to 0 and VBench calls any video dynamic; with one, none.

    Args:
        magnitudes: Speed of each pair of neighbouring chosen frames, in pixels.
        num_frames: Number of chosen frames.
        shorter_side: Shorter side of the video in pixels.
    """
    threshold = PIXELS_AT_256 * shorter_side / 256
    needed = round(4 * num_frames / 16)
    left = num_frames - 1
    if needed == 0:
        return left > 0
    for magnitude in magnitudes:
        needed -= magnitude > threshold
        left -= 1
        if needed == 0 or needed > left:
            break
    return needed == 0


def dynamic_degree(frames: "Tensor", fps: float, flow: Flow) -> Parts:
    """Return 1 for a dynamic video, else 0; each video counts once.

    Args:
        frames: uint8 of shape (T, H, W, 3), converted as OpenCV does.
        fps: Frames per second that the file names.
        flow: RAFT.
    """
    index = chosen(len(frames), fps)
    pairs = list(zip(index[:-1], index[1:], strict=True))
    speeds = flow.magnitudes(frames, pairs, TOP)
    return Parts(float(moves(speeds, len(index), min(frames.shape[1:3]))), 1)
