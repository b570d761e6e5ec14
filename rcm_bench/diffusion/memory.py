"""Peak memory of the device, estimated before anything is loaded, and what follows from it."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from rcm_bench.diffusion.families import VAE_PARAMETERS, parameters

Mode = Literal["resident", "model", "group"]
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SHARE = 0.92  # of the free memory; the rest is fragments, cuBLAS and cuDNN workspaces
# Live activations of one block, in units of tokens x width: the residual stream, its modulated
# copy, q, k, v and the attention's output, or the feed-forward's hidden state.
_BLOCK_COPIES = 8
# The decoder's widest stage: copies of 96-channel frames at full size for one chunk of four frames,
# input, norm, convolution and padding, its cache of earlier frames, what convolutions need beside.
# As many as the peaks of reports/gallery/throughput_wan__h200__2026-11-30 say, less all weights.
_DECODER_BYTES_PER_PIXEL = 96 * 4 * 27
# Our decoder takes more frames at once and keeps fewer copies; as many as the same peaks say.
CHUNK_PIXELS = 8_000_000  # of decoded frames in one chunk: 20 frames of 480x832
_OUR_COPIES = 96 * 8


class Peaks(NamedTuple):
    """Estimated bytes on the device.

    Attributes:
        transformer: Weights of the transformer.
        activations: What sampling one batch holds beside them.
        vae: Weights of the autoencoder.
        decode: What decoding one sample holds beside them.
        block: Weights of one block, for offloading block by block.
    """

    transformer: float
    activations: float
    vae: float
    decode: float
    block: float

    def at(self, mode: Mode) -> float:
        """Return the peak with weights resident, one network at a time, or block by block."""
        if mode == "resident":
            return self.transformer + self.vae + max(self.activations, self.decode)
        sampling = {"model": self.transformer, "group": 2 * self.block}[mode]
        return max(sampling + self.activations, self.vae + self.decode)


def estimate(
    config: Mapping[str, Any],
    *,
    latent_shape: tuple[int, int, int, int],
    pixels: int,
    frames: int,
    batch: int,
    dtype: str,
    decode_dtype: str,
    decoder: str = "diffusers",
) -> Peaks:
    """Estimate peaks from shapes alone.

    Args:
        config: The transformer's configuration.
        latent_shape: C, T, H, W of one sample.
        pixels: Of one frame.
        frames: Of one sample.
        batch: Samples that are made together.
        dtype: Of the transformer.
        decode_dtype: Of the autoencoder.
        decoder: Which decoder, as in the suite.
    """
    _, time, height, width = latent_shape
    patch = config["patch_size"]
    tokens = batch * time * height * width / (patch[0] * patch[1] * patch[2])
    dim = int(config["num_attention_heads"]) * int(config["attention_head_dim"])
    hidden = float(config.get("ffn_dim") or float(config.get("mlp_ratio", 4)) * dim)
    size, decode_size = _BYTES[dtype], _BYTES[decode_dtype]
    weights = parameters(config) * size
    chunk = min(frames, 4) * pixels * _DECODER_BYTES_PER_PIXEL / 4
    if decoder != "diffusers":
        chunk = max(min(frames, 4) * pixels, min(frames * pixels, CHUNK_PIXELS)) * _OUR_COPIES
    return Peaks(
        transformer=weights,
        activations=tokens * (_BLOCK_COPIES * dim + hidden) * size,
        vae=VAE_PARAMETERS * decode_size,
        decode=chunk * decode_size + 3 * frames * pixels * 5,
        block=weights / int(config["num_layers"]),
    )


def choose(peaks: Peaks, free: float) -> Mode | None:
    """Return the fastest mode that fits into the free memory, or None if none does."""
    modes: tuple[Mode, ...] = ("resident", "model", "group")
    for mode in modes:
        if peaks.at(mode) <= SHARE * free:
            return mode
    return None
