"""The plain loop that the harness is held against: networks, noise, decoder, and nothing else.

Shape legend: B batch, C latent channels, T latent frames, H and W latent height and width,
L text tokens, D text width.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Parts(NamedTuple):
    """What a plain script has at hand once it has loaded a Wan2.1 pipeline.

    Attributes:
        net: diffusers' transformer, on the device.
        vae: Its autoencoder, on the device.
        text_BLD: Embedding of the prompt, padded.
        times: Rectified-flow times from noise to 0.
        shape: C, T, H, W of a sample's latents.
        round_times: Whether timesteps are rounded to bfloat16.
        autotune: Whether cuDNN times the decoder's convolutions.
    """

    net: Any
    vae: Any
    text_BLD: Tensor
    times: Sequence[float]
    shape: tuple[int, ...]
    round_times: bool
    autotune: bool


@torch.inference_mode()
def samples(parts: Parts, seeds: Sequence[int]) -> "Iterator[NDArray[np.uint8]]":
    """Yield frames (T, height, width, 3) of one seed after the other, by rCM's sampler.

    Everything that does not change from sample to sample is computed before the first.
    """
    net, vae, times = parts.net, parts.vae, parts.times
    device = parts.text_BLD.device
    seen = [torch.tensor([1000 * t], dtype=torch.float64).float() for t in times[:-1]]
    if parts.round_times:
        seen = [each.bfloat16().float() for each in seen]
    seen = [each.to(device) for each in seen]
    mean, std = (
        torch.tensor(values, device=device).view(1, -1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    for seed in seeds:
        rng = torch.Generator().manual_seed(seed)
        x = torch.randn(parts.shape, generator=rng)[None].to(device).double() * times[0]
        for t, t_next, timestep in zip(times, times[1:], seen, strict=False):
            v = net(
                hidden_states=x.float().to(net.dtype),
                timestep=timestep,
                encoder_hidden_states=parts.text_BLD,
                return_dict=False,
            )[0]
            x = x - t * v.float().double()
            if t_next > 0:
                fresh = torch.randn(parts.shape, generator=rng)[None].to(device).double()
                x = (1 - t_next) * x + t_next * fresh
        latents = (x.float() * std + mean).to(vae.dtype)
        torch.backends.cudnn.benchmark = parts.autotune
        video = vae.decode(latents, return_dict=False)[0][0].float()
        torch.backends.cudnn.benchmark = False
        frames = ((video.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0)
        frames = frames.contiguous()
        if frames.is_cuda:
            frames = torch.empty(frames.shape, dtype=frames.dtype, pin_memory=True).copy_(frames)
        yield frames.numpy()
