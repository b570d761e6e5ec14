"""Background consistency: CLIP's view of each frame against the first and the one before."""

from typing import TYPE_CHECKING

from rcm_bench.vbench.native.consistency import consistency
from rcm_bench.vbench.native.parts import Parts

if TYPE_CHECKING:
    from torch import Tensor


def background_consistency(features: "Tensor") -> Parts:
    """Return a video's background consistency, weighted by its frames.

    Args:
        features: CLIP ViT-B/32's image features by the tensor path, of shape (T, D), T at least 2.
    """
    return consistency(features)
