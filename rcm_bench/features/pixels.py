"""Small pixels: an image area-averaged to a few points. No weights; a baseline, not perception."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from rcm_bench.suite import Strict

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Settings(Strict):
    """Side of the small image."""

    size: int = Field(default=8, ge=1, le=256, description="Side of the small image, in pixels")
    distance: Literal["squared"] = "squared"

    def identity(self) -> dict[str, Any]:
        """Return what a score depends on."""
        return self.model_dump(mode="json")

    def check(self, where: str) -> None:
        """There are no weights that could be missing."""

    def load(self, where: str, device: str) -> "Pixels":
        """Return the function; nothing is loaded."""
        return Pixels(self.size)


class Pixels:
    """Images to small images in [0, 1], so that squared distances are mean squared errors.

    Args:
        size: Side of the small image.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Return features (B, 3 size^2) of images (B, H, W, 3)."""
        import torch
        from torch.nn.functional import adaptive_avg_pool2d

        pixels = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
        small = adaptive_avg_pool2d(pixels, self.size).flatten(1).numpy()
        found: NDArray[np.float32] = (small / small.shape[1] ** 0.5).astype(np.float32)
        return found
