"""A faster decoder of Wan2.1's autoencoder on the weights of diffusers', with the same picture.

It leaves out what costs time there and changes nothing. Chunks are several latent frames long and
not one. Activations lie with channels last, and each norm writes straight behind the two frames
that the next causal convolution remembers, which pads by itself: only those two are ever copied.
Biases, residuals, norms and activations are one pass (``elementwise``). Nearest up-sampling and the
3x3 convolution after it are one transposed convolution with 4x4 weights: 4 products a pixel, not 9.

Shape legend: T frames, H and W height and width, C channels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rcm_bench.diffusion.elementwise import Implementation, Sum, add, norm_silu

_CHUNK_PIXELS = 8_000_000  # of decoded frames in one chunk: 20 frames of 480x832
_TEMPORAL = 4


class CausalConv(nn.Module):
    """A convolution that sees this frame and the two before it, and remembers those of a chunk."""

    def __init__(self, conv: nn.Conv3d, dtype: torch.dtype) -> None:
        super().__init__()
        weight = conv.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last_3d)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = _wide(conv.bias)
        self.padding = (0, *(size // 2 for size in conv.kernel_size[1:]))
        self.past: Tensor | None = None

    def room(self, frames: int, like_THWC: Tensor) -> Tensor:
        """Return the input (2 + T, H, W, C) with the past in front; the rest is to be written."""
        room = like_THWC.new_empty(2 + frames, *like_THWC.shape[1:3], self.weight.shape[1])
        if self.past is None:
            room[:2].zero_()
        else:
            room[:2].copy_(self.past)
        return room

    def forward(self, room: Tensor) -> Sum:
        """Convolve a filled room, and remember its end; the bias is left to add."""
        self.past = room[-2:].clone()
        x = functional.conv3d(room.permute(3, 0, 1, 2)[None], self.weight, padding=self.padding)
        return Sum(x[0].permute(1, 2, 3, 0).contiguous(), self.bias)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, around a residual."""

    def __init__(self, block: Any, dtype: torch.dtype, how: Implementation) -> None:
        super().__init__()
        self.how: Implementation = how
        self.gain1, self.gain2 = _gain(block.norm1), _gain(block.norm2)
        self.conv1, self.conv2 = CausalConv(block.conv1, dtype), CausalConv(block.conv2, dtype)
        self.shortcut, self.bias = None, self.conv2.bias
        if isinstance(block.conv_shortcut, nn.Conv3d):
            self.shortcut = _matrix(block.conv_shortcut, dtype)
            self.bias = nn.Parameter(self.bias + _wide(block.conv_shortcut.bias), False)

    def forward(self, terms: Sum) -> Sum:
        """Go through the block; the last sum is left to add."""
        room = self.conv1.room(len(terms.x), terms.x)
        total = norm_silu(self.how, terms, self.gain1, room[2:])
        inner = self.conv1(room)
        room = self.conv2.room(len(inner.x), inner.x)
        norm_silu(self.how, inner, self.gain2, room[2:])
        residual = total if self.shortcut is None else functional.linear(total, self.shortcut)
        return Sum(self.conv2(room).x, self.bias, residual)


class Attention(nn.Module):
    """Attention of one head among the pixels of each frame."""

    def __init__(self, block: Any, dtype: torch.dtype, how: Implementation) -> None:
        super().__init__()
        self.how: Implementation = how
        self.gain = _gain(block.norm)
        self.qkv, self.proj = _matrix(block.to_qkv, dtype), _matrix(block.proj, dtype)
        self.qkv_bias = nn.Parameter(block.to_qkv.bias.detach().to(dtype), requires_grad=False)
        self.bias = _wide(block.proj.bias)

    def forward(self, terms: Sum) -> Sum:
        """Attend; the last sum is left to add."""
        normed = torch.empty_like(terms.x)
        total = norm_silu(self.how, terms, self.gain, normed, activate=False)
        qkv = functional.linear(normed.flatten(1, 2), self.qkv, self.qkv_bias)
        q, k, v = qkv[:, None].chunk(3, dim=-1)
        x = functional.scaled_dot_product_attention(q, k, v)[:, 0].reshape(total.shape)
        return Sum(functional.linear(x, self.proj), self.bias, total)


class Upsample(nn.Module):
    """Twice the height and width, and with ``time`` twice the frames, but for the very first."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        super().__init__()
        conv = block.resample[1]
        self.weight, self.bias = _transposed(conv.weight, dtype), _wide(conv.bias)
        self.time = CausalConv(block.time_conv, dtype) if hasattr(block, "time_conv") else None

    def forward(self, terms: Sum, first: bool) -> Sum:
        """Up-sample; the bias is left to add."""
        if self.time is None or first:
            x = add(terms)
        else:
            room = self.time.room(len(terms.x), terms.x)
            add(terms, out=room[2:])
            both = add(self.time(room))  # the channels of the earlier frame, then of the later
            x = torch.stack(both.chunk(2, dim=-1), 1).flatten(0, 1)
        y = functional.conv_transpose2d(x.permute(0, 3, 1, 2), self.weight, stride=2, padding=1)
        return Sum(y.permute(0, 2, 3, 1).contiguous(), self.bias)


class Decoder(nn.Module):
    """The decoder as a list of layers, one sample at a time.

    Args:
        vae: diffusers' ``AutoencoderKLWan`` as Wan2.1 has it, in float32 where that is at hand.
        dtype: Of convolutions and activations; biases and gains stay in float32.
        how: How sums, norms and activations are computed.

    Raises:
        ValueError: It is another autoencoder, such as that of Wan2.2.
    """

    def __init__(self, vae: Any, dtype: torch.dtype, how: Implementation) -> None:
        super().__init__()
        if vae.config.is_residual or vae.config.patch_size is not None:
            raise ValueError("expected Wan2.1's autoencoder, got one that has residual up-sampling")
        decoder = vae.decoder
        self.dtype, self.how = dtype, how
        self.quant, self.quant_bias = _matrix(vae.post_quant_conv, dtype), vae.post_quant_conv.bias
        self.quant_bias = nn.Parameter(self.quant_bias.detach().to(dtype), requires_grad=False)
        self.conv_in = CausalConv(decoder.conv_in, dtype)
        first, *rest = (ResidualBlock(b, dtype, how) for b in decoder.mid_block.resnets)
        layers: list[nn.Module] = [first]
        for attention, block in zip(decoder.mid_block.attentions, rest, strict=True):
            layers += [Attention(attention, dtype, how), block]
        for stage in decoder.up_blocks:
            layers += [ResidualBlock(b, dtype, how) for b in stage.resnets]
            layers += [Upsample(b, dtype) for b in stage.upsamplers or ()]
        self.layers = nn.ModuleList(layers)
        self.gain, self.conv_out = _gain(decoder.norm_out), CausalConv(decoder.conv_out, dtype)

    def forward(self, z_CTHW: Tensor, chunk: int | None = None) -> Tensor:
        """Decode one sample.

        Args:
            z_CTHW: Latents as the autoencoder has them, not normalised.
            chunk: Latent frames after the first that are decoded together.

        Returns:
            (3, frames, height, width) in [-1, 1], in at least float32.
        """
        z = z_CTHW.permute(1, 2, 3, 0).to(self.dtype).contiguous()
        x = functional.linear(z, self.quant, self.quant_bias)
        for module in self.modules():
            if isinstance(module, CausalConv):
                module.past = None
        height, width = (8 * side for side in z.shape[1:3])
        chunk = chunk or max(1, _CHUNK_PIXELS // (_TEMPORAL * height * width))
        parts = [self._chunk(x[:1], first=True)]
        parts += [self._chunk(x[i : i + chunk], first=False) for i in range(1, len(x), chunk)]
        return torch.cat(parts, 1)

    def _chunk(self, x_THWC: Tensor, *, first: bool) -> Tensor:
        room = self.conv_in.room(len(x_THWC), x_THWC)
        room[2:].copy_(x_THWC)
        terms: Sum = self.conv_in(room)
        for layer in self.layers:
            terms = layer(terms, first) if isinstance(layer, Upsample) else layer(terms)
        room = self.conv_out.room(len(terms.x), terms.x)
        norm_silu(self.how, terms, self.gain, room[2:])
        last = self.conv_out(room)
        video: Tensor = (last.x + last.bias).clamp(-1, 1)
        return video.permute(3, 0, 1, 2)


def _wide(bias: Tensor | None) -> nn.Parameter:
    assert bias is not None, "every convolution of this autoencoder has a bias"
    kept = torch.promote_types(bias.dtype, torch.float32)
    return nn.Parameter(bias.detach().to(kept), requires_grad=False)


def _gain(norm: Any) -> nn.Parameter:
    return _wide(norm.gamma.detach().flatten() * norm.scale)


def _matrix(conv: Any, dtype: torch.dtype) -> nn.Parameter:
    """Return a convolution of one pixel as a matrix (out, in)."""
    return nn.Parameter(conv.weight.detach().flatten(1).to(dtype), requires_grad=False)


def _transposed(weight: Tensor, dtype: torch.dtype) -> nn.Parameter:
    """Return the 4x4 weights (in, out, 4, 4) of nearest up-sampling and then 3x3 weights.

    Up-sampling is a transposed convolution with 2x2 ones, so that both together are the transposed
    convolution with the full convolution of those ones and the flipped weights.
    """
    flipped = weight.detach().flip(-1, -2)
    shifts = ((0, 1, 0, 1), (1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 1, 0))
    full = torch.stack([functional.pad(flipped, shift) for shift in shifts]).sum(0)
    made = full.transpose(0, 1).to(dtype).contiguous(memory_format=torch.channels_last)
    return nn.Parameter(made, requires_grad=False)
