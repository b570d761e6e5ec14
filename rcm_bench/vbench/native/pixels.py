"""Frames to what each network takes: VBench's resizing, cropping and normalisation.

Shapes: T frames, H x W pixels. Frames come as uint8 (T, H, W, 3) on the networks' device, where
they are brought once for all dimensions; pixels go as float32 (T, 3, h, w). "No antialiasing" holds
for tensors; pictures of PIL are always antialiased, which is why two dimensions that share a
network see different pixels of the same frame.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 224
MUSIQ_LONGEST = 512


def on_device(frames: "NDArray[np.uint8]", device: str) -> "Tensor":
    """Return frames of shape (T, H, W, 3) on a device, as bytes: a quarter of the traffic."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(frames)).to(device)


def chunks(frames: "Tensor", size: int) -> "Iterator[Tensor]":
    """Yield the frames, ``size`` at a time."""
    for start in range(0, len(frames), size):
        yield frames[start : start + size]


def to_float(frames: "Tensor") -> "Tensor":
    """Return frames as float32 of shape (T, 3, H, W) in 0..255."""
    return frames.permute(0, 3, 1, 2).float().contiguous()


def clip_pixels(frames: "Tensor") -> "Tensor":
    """Return CLIP's pixels by the tensor path: shorter side to 224, bicubic, centre crop.

    Resized before division and neither rounded nor clamped, as VBench does.
    """
    from torchvision.transforms.v2 import functional

    resized = functional.resize(
        to_float(frames), [SIDE], functional.InterpolationMode.BICUBIC, antialias=False
    )
    cropped = functional.center_crop(resized, [SIDE, SIDE])
    return _normalised(cropped, CLIP_MEAN, CLIP_STD)


def clip_pixels_pil(frames: "NDArray[np.uint8]", device: str) -> "Tensor":
    """Return CLIP's pixels by the path through PIL: resized in 8 bits with antialiasing."""
    from PIL import Image
    from torchvision.transforms.v2 import functional

    def prepared(frame: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
        picture = Image.fromarray(frame)
        resized = functional.resize(picture, [SIDE], functional.InterpolationMode.BICUBIC)
        return np.asarray(functional.center_crop(resized, [SIDE, SIDE]))

    with ThreadPoolExecutor() as pool:  # PIL resizes without Python's lock
        pictures = list(pool.map(prepared, frames))
    whole = to_float(on_device(np.stack(pictures), device))
    return _normalised(whole, CLIP_MEAN, CLIP_STD)


def dino_pixels(frames: "Tensor") -> "Tensor":
    """Return DINO's pixels: shorter side to 224, bilinear, the whole frame and no crop."""
    from torchvision.transforms.v2 import functional

    resized = functional.resize(
        to_float(frames), [SIDE], functional.InterpolationMode.BILINEAR, antialias=False
    )
    return _normalised(resized, IMAGENET_MEAN, IMAGENET_STD)


def musiq_pixels(frames: "Tensor") -> "Tensor":
    """Return MUSIQ's pixels in 0..1: the longer side at most 512, bilinear."""
    from torchvision.transforms.v2 import functional

    pixels = to_float(frames)
    height, width = pixels.shape[-2:]
    longest = max(height, width)
    if longest > MUSIQ_LONGEST:
        scale = MUSIQ_LONGEST / longest
        size = [int(scale * height), int(scale * width)]
        pixels = functional.resize(
            pixels, size, functional.InterpolationMode.BILINEAR, antialias=False
        )
    return pixels / 255.0


def _normalised(
    pixels: "Tensor", mean: tuple[float, float, float], std: tuple[float, float, float]
) -> "Tensor":
    """Return pixels of 0..255 divided by 255, less a mean, over a deviation, by channel."""
    import torch

    low, wide = (
        torch.tensor(values, dtype=pixels.dtype, device=pixels.device).view(3, 1, 1)
        for values in (mean, std)
    )
    return (pixels / 255.0 - low) / wide
