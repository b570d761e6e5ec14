"""Appearance style: CLIP's likeness of each frame to the style's name."""

from typing import TYPE_CHECKING, Any

from rcm_bench.vbench.native.clip_features import image_features
from rcm_bench.vbench.native.parts import Parts
from rcm_bench.vbench.native.pixels import chunks, clip_pixels_pil

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

BATCH = 32


def text_feature(clip: Any, style: str, device: str) -> "Tensor":
    """Return CLIP's feature of a style's name, of shape (1, D) and length 1."""
    import torch
    from open_clip import tokenize
    from torch.nn.functional import normalize

    with torch.inference_mode():
        return normalize(clip.encode_text(tokenize([style]).to(device)).float(), dim=-1)


def appearance_style(frames: "NDArray[np.uint8]", style: "Tensor", clip: Any, device: str) -> Parts:
    """Return a video's likeness to a style, weighted by its frames: sum_t scale cos(f_t, s) / 100.

    Frames go through PIL here, so CLIP's features of the other dimensions do not serve.

    Args:
        frames: uint8 of shape (T, H, W, 3).
        style: `text_feature` of the style that VBench names for the prompt.
        clip: open_clip's ViT-B/32; its logit scale is 100 in OpenAI's weights.
        device: Where it lies.
    """
    import torch
    from torch.nn.functional import normalize

    with torch.inference_mode():
        pixels = clip_pixels_pil(frames, device)
        found = [image_features(clip, part) for part in chunks(pixels, BATCH)]
        unit = normalize(torch.cat(found).float(), dim=-1)
        scores = clip.logit_scale.float().exp() * (unit @ style.T) / 100
        return Parts(float(scores.double().sum()), len(frames))
