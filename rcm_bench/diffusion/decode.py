"""Latents to pixels and back: Wan2.1's autoencoder, which Cosmos-Predict2 uses too.

Shape legend: B batch, C latent channels, T latent frames, H and W latent height and width.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Pixels(NamedTuple):
    """Decoded frames.

    Attributes:
        frames: uint8 of shape (frames, height, width, 3).
        finite: False if a value was not finite; it is drawn as black.
    """

    frames: "NDArray[np.uint8]"
    finite: bool


def decode(vae: Any, latents_CTHW: "Tensor") -> Pixels:
    """Decode one sample: x = vae(z std + mean), from [-1, 1] to 0 ... 255, rounded.

    Args:
        vae: diffusers' ``AutoencoderKLWan``.
        latents_CTHW: Normalised latents of one sample.
    """
    import torch

    mean, std = _statistics(vae, latents_CTHW)
    z = (latents_CTHW[None].float() * std + mean).to(vae.dtype)
    video = vae.decode(z, return_dict=False)[0][0].float()
    finite = bool(torch.isfinite(video).all()) and bool(torch.isfinite(latents_CTHW).all())
    video = video.nan_to_num(nan=-1.0, posinf=1.0, neginf=-1.0).clamp(-1, 1)
    frames = ((video + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0)
    return Pixels(frames.cpu().contiguous().numpy(), finite)


def encode_image(vae: Any, image: "NDArray[np.uint8]") -> "Tensor":
    """Encode an image as the first latent frame of a video; the autoencoder is causal.

    Args:
        vae: diffusers' ``AutoencoderKLWan``.
        image: uint8 of shape (height, width, 3).

    Returns:
        Normalised latents (C, 1, H, W) in float32: the mean of the encoder's law, where diffusers'
        pipeline draws from it. The law is narrow, and a draw would depend on the order of work.
    """
    import torch

    device = next(vae.parameters()).device
    pixels = torch.tensor(image, device=device).permute(2, 0, 1).float() / 127.5 - 1
    z = vae.encode(pixels[None, :, None].to(vae.dtype)).latent_dist.mode().float()
    mean, std = _statistics(vae, z)
    latents: Tensor = ((z - mean) / std)[0]
    return latents


def _statistics(vae: Any, like: "Tensor") -> "tuple[Tensor, Tensor]":
    import torch

    values = (vae.config.latents_mean, vae.config.latents_std)
    mean, std = (torch.tensor(v, device=like.device).view(1, -1, 1, 1, 1) for v in values)
    return mean, std
