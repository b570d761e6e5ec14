"""An image as a network wants it: short side resized, centre cut out, channels normalised.

Legend: B images, S side of the crop.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class Preparation(NamedTuple):
    """What is done to an image; part of a score's key.

    Attributes:
        resize: Length of the short side after PIL's bicubic resize with antialiasing.
        crop: Side of the square that is cut from the centre.
        mean: Mean of each channel, of values in [0, 1].
        std: Standard deviation of each channel.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def settings(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "resize": f"short side to {self.resize}, PIL bicubic",
            "crop": f"centre {self.crop}",
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def __call__(self, images: "NDArray[np.uint8]") -> "Tensor":
        """Prepare images (B, H, W, 3), uint8; return (B, 3, S, S), float32."""
        import torch

        pixels = np.stack([self._cut(image) for image in images]).astype(np.float32) / 255
        mean, std = (np.array(each, dtype=np.float32) for each in (self.mean, self.std))
        scaled = (pixels - mean) / std
        return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))

    def _cut(self, image: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
        from PIL import Image

        height, width = image.shape[:2]
        size = (self.resize, int(self.resize * height / width))
        if width > height:
            size = (int(self.resize * width / height), self.resize)
        resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
        left, top = (round((side - self.crop) / 2) for side in size)
        return np.asarray(resized.crop((left, top, left + self.crop, top + self.crop)))


def in_parts(images: "NDArray[np.uint8]", size: int) -> "Sequence[NDArray[np.uint8]]":
    """Cut a batch into parts that fit a network's memory."""
    return [images[start : start + size] for start in range(0, len(images), size)]
