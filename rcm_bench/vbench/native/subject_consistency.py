"""Subject consistency: DINO's view of each frame against the first and the one before."""

import math
from typing import TYPE_CHECKING, Any

from rcm_bench.vbench.native.consistency import consistency
from rcm_bench.vbench.native.parts import Parts
from rcm_bench.vbench.native.pixels import chunks, dino_pixels

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 16


def subject_consistency(frames: "Tensor", dino: Any) -> Parts:
    """Return a video's subject consistency, weighted by its frames.

    Args:
        frames: uint8 of shape (T, H, W, 3), T at least 2, where the network lies.
        dino: timm's vision transformer with DINO's weights.
    """
    import torch

    with torch.inference_mode():
        found = [class_token(dino, dino_pixels(part)) for part in chunks(frames, BATCH)]
        return consistency(torch.cat(found))


def class_token(dino: Any, pixels: "Tensor") -> "Tensor":
    """Return the class token of shape (T, D) of frames of any size.

    Args:
        dino: timm's vision transformer.
        pixels: Of shape (T, 3, H, W); what is left over by patches is not seen.
    """
    import torch

    grid = dino.patch_embed.proj(pixels)
    square = pixels.shape[-2] == pixels.shape[-1]
    positions = dino_positions(dino.pos_embed, *grid.shape[-2:], square=square)
    patches = grid.flatten(2).transpose(1, 2)
    tokens = torch.cat((dino.cls_token.expand(len(patches), -1, -1), patches), dim=1) + positions
    token: Tensor = dino.norm(dino.blocks(tokens))[:, 0]
    return token


def dino_positions(embedding: "Tensor", rows: int, columns: int, *, square: bool) -> "Tensor":
    """Return DINO's position embedding for a grid of patches, of shape (1, 1 + rows * columns, D).

    Bicubic from a square grid, by DINO's own scale factors (rows + 0.1) / side: timm and
    transformers interpolate to a size, with antialiasing in timm's case, which gives other values.

    Args:
        embedding: Of shape (1, 1 + side * side, D), the class token's first.
        rows: Number of rows of patches.
        columns: Number of columns of patches.
        square: Whether the picture is: one of 224 x 233 has the grid's own patches, and DINO
            stretches it nonetheless, by (14 + 0.1) / 14.
    """
    import torch
    from torch.nn.functional import interpolate

    side = math.isqrt(embedding.shape[1] - 1)
    if square and rows == side:
        return embedding
    places = embedding[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    factors = ((rows + 0.1) / side, (columns + 0.1) / side)
    stretched = interpolate(places, scale_factor=factors, mode="bicubic")
    return torch.cat((embedding[:, :1], stretched.flatten(2).transpose(1, 2)), dim=1)
