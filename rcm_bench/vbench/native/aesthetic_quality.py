"""Aesthetic quality: LAION's linear predictor on CLIP's view of each frame."""

from typing import TYPE_CHECKING, Any

from rcm_bench.vbench.native.parts import Parts

if TYPE_CHECKING:
    from torch import Tensor


def aesthetic_quality(features: "Tensor", head: Any) -> Parts:
    """Return a video's aesthetic score: mean over frames of w . f / |f| + b, over 10.

    Args:
        features: CLIP ViT-L/14's image features by the tensor path, of shape (T, 768).
        head: Linear layer, 768 to 1.
    """
    import torch
    from torch.nn.functional import normalize

    with torch.inference_mode():
        scores = head(normalize(features.float(), dim=-1)).squeeze(-1) / 10
        return Parts(float(scores.mean()), 1)
