"""CLIP's image features of a video for several models at once: each frame is prepared once."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rcm_bench.vbench.native.pixels import chunks, clip_pixels

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 32


def clip_features(frames: "Tensor", clips: Mapping[str, Any]) -> "dict[str, Tensor]":
    """Return image features by the tensor path, of shape (T, D) for each model.

    Args:
        frames: uint8 of shape (T, H, W, 3), where the models lie.
        clips: open_clip's models by name; all take 224 x 224 pixels.
    """
    import torch

    found: dict[str, list[Tensor]] = {name: [] for name in clips}
    with torch.inference_mode():
        for part in chunks(frames, BATCH):
            pixels = clip_pixels(part)
            for name, clip in clips.items():
                found[name].append(image_features(clip, pixels))
    return {name: torch.cat(parts) for name, parts in found.items()}


def image_features(clip: Any, pixels: "Tensor") -> "Tensor":
    """Return features of shape (T, D) in the model's precision."""
    features: Tensor = clip.encode_image(pixels.to(clip.visual.conv1.weight.dtype))
    return features
