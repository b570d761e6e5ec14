"""Imaging quality: MUSIQ, trained on SPAQ, on each frame."""

from typing import TYPE_CHECKING, Any

from rcm_bench.vbench.native.parts import Parts
from rcm_bench.vbench.native.pixels import chunks, musiq_pixels

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 16


def imaging_quality(frames: "Tensor", musiq: Any) -> Parts:
    """Return a video's imaging quality, mean over frames, over 100; each video counts once.

    The package's own files give a video's value on 0 to 100 and only the score on 0 to 1.

    Args:
        frames: uint8 of shape (T, H, W, 3), where the network lies.
        musiq: pyiqa's MUSIQ.
    """
    import torch

    with torch.inference_mode():
        found = [opinion(musiq, musiq_pixels(part)) for part in chunks(frames, BATCH)]
        return Parts(float(torch.cat(found).double().mean()) / 100, 1)


def opinion(musiq: Any, pixels: "Tensor") -> "Tensor":
    """Return MUSIQ's mean opinion score of shape (T,) of pictures of one size.

    The module fills its two smaller scales up to the squares of their longer sides, with patches
    that attention masks: a quarter of all patches at 16:9. Here they are left out.

    Args:
        musiq: pyiqa's MUSIQ.
        pixels: Of shape (T, 3, H, W) in 0..1.
    """
    from pyiqa.data.multiscale_trans_util import get_multiscale_patches

    rows = get_multiscale_patches(2 * (pixels - 0.5), **musiq.data_preprocess_opts)
    # Each row is a patch, then its place, its scale and whether it is one.
    rows = rows[:, rows[0, :, -1].bool()]
    patches = rows[..., :-3].reshape(-1, 3, musiq.patch_size, musiq.patch_size)
    cells = musiq.block1(musiq.root_pool(musiq.gn_root(musiq.conv_root(patches))))
    tokens = musiq.embedding(cells.permute(0, 2, 3, 1).reshape(*rows.shape[:2], -1))
    encoded = musiq.transformer_encoder(tokens, rows[..., -3], rows[..., -2], rows[..., -1].bool())
    scores: Tensor = musiq.head(encoded[:, 0]).squeeze(-1)
    return scores
