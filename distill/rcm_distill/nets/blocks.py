"""Blocks of a diffusion transformer: attention to image and words, feed-forward, modulation.

Shape legend: B batch, L words, N image tokens, M image tokens and words, D width, H heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rcm_kernels import attention


def rms_norm(x: Tensor, scale: Tensor) -> Tensor:
    """Normalise the last dimension by its root mean square."""
    # Written out, so that forward-mode differentiation and every torch from 2.11 on agree on it.
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean_square = wide.pow(2).mean(-1, keepdim=True)
    return (wide * torch.rsqrt(mean_square + 1e-6) * scale).to(x.dtype)


class Attention(nn.Module):
    """Attention of tokens to themselves and, if given, to words; queries and keys normalised."""

    def __init__(self, width: int, num_heads: int, *, to_words: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.word_kv = nn.Linear(width, 2 * width) if to_words else None
        self.out = nn.Linear(width, width)
        self.query_scale = nn.Parameter(torch.ones(width // num_heads))
        self.key_scale = nn.Parameter(torch.ones(width // num_heads))

    def forward(self, x_BND: Tensor, words_BLD: Tensor | None = None) -> Tensor:
        """Attend from image tokens to themselves and to the words."""
        q, k, v = self.qkv(x_BND).chunk(3, dim=-1)
        if self.word_kv is not None and words_BLD is not None:
            word_k, word_v = self.word_kv(words_BLD).chunk(2, dim=-1)
            k, v = torch.cat([k, word_k], dim=1), torch.cat([v, word_v], dim=1)
        q_BHND, k_BHMD, v_BHMD = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (q, k, v)
        )
        q_BHND = rms_norm(q_BHND, self.query_scale)
        k_BHMD = rms_norm(k_BHMD, self.key_scale)
        mixed: Tensor = attention(q_BHND, k_BHMD, v_BHMD)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


def feed_forward(width: int, hidden: int) -> nn.Sequential:
    """Make the feed-forward part of a block."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width)
    )


class TextBlock(nn.Module):
    """A block that encodes the words."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, num_heads, to_words=False)
        self.feed_forward = feed_forward(width, 2 * width)

    def forward(self, words_BLD: Tensor) -> Tensor:
        """Encode words (B, L, D) further."""
        words_BLD = words_BLD + self.attention(self.norm1(words_BLD))
        out: Tensor = words_BLD + self.feed_forward(self.norm2(words_BLD))
        return out


class Block(nn.Module):
    """A block of image tokens, modulated by time and prompt."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(6 * width))
        self.attention = Attention(width, num_heads, to_words=True)
        self.feed_forward = feed_forward(width, mlp_ratio * width)

    def forward(self, x_BND: Tensor, words_BLD: Tensor, modulation_B1D6: Tensor) -> Tensor:
        """Transform image tokens (B, N, D) with the words (B, L, D) and a modulation."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            (modulation_B1D6 + self.offset).to(x_BND.dtype).chunk(6, dim=-1)
        )
        normed = layer_norm(x_BND) * (1 + scale1) + shift1
        x_BND = x_BND + gate1 * self.attention(normed, words_BLD)
        normed = layer_norm(x_BND) * (1 + scale2) + shift2
        out: Tensor = x_BND + gate2 * self.feed_forward(normed)
        return out


def layer_norm(x: Tensor) -> Tensor:
    """Normalise the last dimension without learned scales, in float32 at least.

    On a GPU PyTorch's own of bfloat16 has a tangent in float32, which no bfloat16 layer takes.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return functional.layer_norm(wide, (x.shape[-1],), eps=1e-6).to(x.dtype)
