"""OpenCV's bilinear resizing of 8-bit images, bit by bit, on any device.

The official pipeline resizes with ``cv2.resize(..., INTER_LINEAR)``, whose weights are whole
2048ths and whose second pass drops bits: an eighth of all pixels come out one level lower or higher
than rounded floating point would have them. (OpenCV, modules/imgproc/src/resize.cpp.)
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_ONE = 2048


class _Axis(NamedTuple):
    """Two neighbours of every new pixel along one axis, and their weights in 2048ths."""

    first: "Tensor"
    second: "Tensor"
    weight_first: "Tensor"
    weight_second: "Tensor"


def resize(images: "Tensor", height: int, width: int) -> "Tensor":
    """Resize as OpenCV does, without antialiasing, corners not aligned.

    Args:
        images: (B, H, W, 3), uint8.
        height: New height.
        width: New width.

    Returns:
        (B, height, width, 3), int32 with values from 0 to 255.
    """
    import torch

    if images.shape[1:3] == (2 * height, 2 * width):  # OpenCV takes the mean of each 2x2 pixels
        four = images.int().view(-1, height, 2, width, 2, 3).sum((2, 4), dtype=torch.int32)
        halved: Tensor = (four + 2) >> 2
        return halved
    x = _axis(width, images.shape[2], images, inside=True)
    y = _axis(height, images.shape[1], images, inside=False)
    across = images[:, :, x.first].int() * x.weight_first.view(1, 1, -1, 1)
    across += images[:, :, x.second].int() * x.weight_second.view(1, 1, -1, 1)
    across >>= 4
    down = (across[:, y.first] * y.weight_first.view(1, -1, 1, 1)) >> 16
    down += (across[:, y.second] * y.weight_second.view(1, -1, 1, 1)) >> 16
    resized: Tensor = (down + 2) >> 2
    return resized


def _axis(new: int, old: int, like: "Tensor", *, inside: bool) -> _Axis:
    """Return neighbours and weights.

    Args:
        new: New number of pixels.
        old: Old number of pixels.
        like: Whose device they shall be on.
        inside: Whether pixels beyond the ends take the last one alone; across they do, down only
            their indices stay inside.
    """
    import torch

    position = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    low = np.floor(position)
    part = position - low
    if inside:
        part[(low < 0) | (low >= old - 1)] = 0
    weights = [np.rint(w * np.float32(_ONE)) for w in (np.float32(1) - part, part)]
    indices = [np.clip(low + k, 0, old - 1) for k in (0, 1)]
    first, second = (torch.from_numpy(i.astype(np.int64)).to(like.device) for i in indices)
    one, two = (torch.from_numpy(w.astype(np.int32)).to(like.device) for w in weights)
    return _Axis(first, second, one, two)
