"""Latents to pixels and back: Wan2.1's autoencoder, which Cosmos-Predict2 uses too.

Shape legend: B batch, C latent channels, T latent frames, H and W latent height and width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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


def video_of(vae: Any, latents_CTHW: "Tensor") -> "Tensor":
    """Decode one sample to (3, frames, height, width) in [-1, 1], float32: x = vae(z std + mean).

    Args:
        vae: diffusers' ``AutoencoderKLWan``, or ours.
        latents_CTHW: Normalised latents of one sample.
    """
    mean, std = _statistics(vae, latents_CTHW)
    z = (latents_CTHW[None].float() * std + mean).to(vae.dtype)
    video: Tensor = vae.decode(z, return_dict=False)[0][0].float()
    return video


def decode(vae: Any, latents_CTHW: "Tensor") -> Pixels:
    """Decode one sample to pixels: from [-1, 1] to 0 ... 255, rounded.

    Args:
        vae: diffusers' ``AutoencoderKLWan``, or ours.
        latents_CTHW: Normalised latents of one sample.
    """
    import torch

    video = video_of(vae, latents_CTHW)
    finite = torch.isfinite(video).all() & torch.isfinite(latents_CTHW).all()
    video = video.nan_to_num(nan=-1.0, posinf=1.0, neginf=-1.0).clamp(-1, 1)
    frames = ((video + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0)
    return Pixels(fetched(frames), bool(finite))


def fetched(frames: "Tensor") -> "NDArray[np.uint8]":
    """Return frames on the CPU, put in order on the device that has them.

    A CPU takes 0.2 s to order 81 frames of 480x832, and has other files to write meanwhile. From a
    GPU they come into page-locked memory, which PyTorch keeps for the next.
    """
    import torch

    frames = frames.contiguous()
    if frames.is_cuda:
        frames = torch.empty(frames.shape, dtype=frames.dtype, pin_memory=True).copy_(frames)
    array: NDArray[np.uint8] = frames.numpy()
    return array


@contextmanager
def autotuned(wanted: bool) -> Iterator[None]:
    """Let cuDNN time its convolutions inside, or not, and leave the setting as it was."""
    import torch

    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


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
