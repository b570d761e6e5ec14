"""VBench's preprocessing as its package 0.1.5 applies it, written from the protocol for tests.

Every constant is written out here with its source; nothing is imported from `rcm_bench`.
torchvision comes with the first use: it imports Triton, and tests of the kernels must be first.
"""

import numpy as np
import torch
from PIL import Image

CLIP_SIDE, DINO_SIDE = 224, 224  # vbench/utils.py: clip_transform(224), dino_transform(224)
MUSIQ_LONGEST = 512  # vbench/imaging_quality.py, mode "longer"
# OpenAI's package clip, clip.py: what CLIP was trained with.
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# ImageNet's, which facebookresearch/dino evaluates with.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINO_PATCH, DINO_SHIFT = 16, 0.1  # facebookresearch/dino: ViT-B/16; its interpolation's offset
CUBIC = -0.75  # PyTorch's bicubic kernel


def tensor(frames, dtype):
    """Return frames of shape (T, H, W, 3) as decord's reader gives them: (T, 3, H, W), 0..255."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).to(dtype)


def clip(frames, dtype=torch.float64):
    from torchvision.transforms import (
        CenterCrop,
        Compose,
        InterpolationMode,
        Lambda,
        Normalize,
        Resize,
    )

    steps = [
        Resize(CLIP_SIDE, interpolation=InterpolationMode.BICUBIC, antialias=False),
        CenterCrop(CLIP_SIDE),
        Lambda(lambda pixels: pixels / 255),
        Normalize(CLIP_MEAN, CLIP_STD),
    ]
    return Compose(steps)(tensor(frames, dtype))


def clip_pil(frames, dtype=torch.float64):
    """Resize in PIL, which antialiases whatever is asked; 8 bits; the middle square."""
    from torchvision.transforms import Normalize

    cropped = []
    for frame in frames:
        height, width = frame.shape[:2]
        shorter = min(height, width)
        size = int(CLIP_SIDE * width / shorter), int(CLIP_SIDE * height / shorter)
        resized = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
        left, top = (round((length - CLIP_SIDE) / 2) for length in size)
        cropped.append(resized[top : top + CLIP_SIDE, left : left + CLIP_SIDE])
    return Normalize(CLIP_MEAN, CLIP_STD)(tensor(np.stack(cropped), dtype) / 255)


def dino(frames, dtype=torch.float64):
    from torchvision.transforms import Compose, InterpolationMode, Lambda, Normalize, Resize

    steps = [
        Resize(DINO_SIDE, interpolation=InterpolationMode.BILINEAR, antialias=False),
        Lambda(lambda pixels: pixels / 255),
        Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    return Compose(steps)(tensor(frames, dtype))


def musiq(frames, dtype=torch.float64):
    from torchvision.transforms import InterpolationMode, Resize

    pixels = tensor(frames, dtype)
    longest = max(pixels.shape[-2:])
    if longest > MUSIQ_LONGEST:
        size = [int(MUSIQ_LONGEST / longest * length) for length in pixels.shape[-2:]]
        pixels = Resize(size, interpolation=InterpolationMode.BILINEAR, antialias=False)(pixels)
    return pixels / 255


def dino_positions(embedding, height, width):
    """Return DINO's positions of a picture in float64, cubic by hand.

    Args:
        embedding: Of shape (1, 1 + side * side, D).
        height: Of the picture in pixels.
        width: Of the picture; only a square one of as many patches keeps the embedding.
    """
    side = round((embedding.shape[1] - 1) ** 0.5)
    if height == width and height // DINO_PATCH == side:
        return embedding.double()
    square = embedding[0, 1:].double().reshape(side, side, -1)
    down, across = (_cubic(side, length // DINO_PATCH) for length in (height, width))
    stretched = torch.einsum("ri,cj,ijd->rcd", down, across, square).flatten(0, 1)
    return torch.cat((embedding[0, :1].double(), stretched))[None]


def _cubic(side, count):
    """Return the weights of ``side`` cells in each of ``count``, at (count + 0.1) / side."""
    weights = torch.zeros(count, side, dtype=torch.float64)
    for row in range(count):
        place = (row + 0.5) * side / (count + DINO_SHIFT) - 0.5
        for cell in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            x = abs(place - cell)
            near = (CUBIC + 2) * x**3 - (CUBIC + 3) * x**2 + 1
            far = CUBIC * (x**3 - 5 * x**2 + 8 * x - 4)
            weights[row, min(max(cell, 0), side - 1)] += near if x <= 1 else far
    return weights
