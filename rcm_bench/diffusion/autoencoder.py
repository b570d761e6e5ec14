"""diffusers' autoencoder of Wan2.1 with the decoder of ours in place of its own."""

from typing import Any

import torch
from torch import Tensor, nn

from rcm_bench.diffusion.decoder import Decoder
from rcm_bench.diffusion.elementwise import Implementation
from rcm_bench.diffusion.quiet import quiet


class FastAutoencoder(nn.Module):
    """What ``decode.py`` needs of an ``AutoencoderKLWan``, decoding with ``Decoder``.

    Args:
        vae: The autoencoder in float32, whose decoder is taken; the rest goes to ``dtype``.
        dtype: Of encoder and decoder.
        how: How the decoder computes sums, norms and activations.

    Raises:
        ValueError: It is not Wan2.1's.
    """

    def __init__(self, vae: Any, dtype: torch.dtype, how: Implementation) -> None:
        super().__init__()
        self.fast = Decoder(vae, dtype, how)
        self.dtype, self.config = dtype, vae.config
        vae.decoder = vae.post_quant_conv = None
        with quiet():
            self.rest = vae.to(dtype)

    def encode(self, x_BCTHW: Tensor) -> Any:
        """Encode as diffusers does."""
        return self.rest.encode(x_BCTHW)

    def decode(self, z_BCTHW: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        """Decode samples one by one; returns a tuple as diffusers does without ``return_dict``."""
        assert not return_dict, "only the plain form is needed"
        return (torch.stack([self.fast(z) for z in z_BCTHW]),)
