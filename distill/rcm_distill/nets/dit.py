"""A compact text-conditioned diffusion transformer that predicts a rectified-flow velocity.

Shape legend: B batch, L words, N image tokens, D width, H heads, C channels, S image side.

Follows DiT (Peebles and Xie 2023, adaLN-Zero) with one modulation shared by all blocks and a
learned offset per block (PixArt-alpha 2023, adaLN-single), and normalised queries and keys. Image
tokens attend to themselves and to the words; the words are encoded once per prompt.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rcm_distill.nets.blocks import Block, TextBlock, layer_norm
from rcm_distill.nets.heads import QueryHead, TimeHead


@dataclass(frozen=True, kw_only=True, slots=True)
class DiTConfig:
    """Shape of a DiT; stored beside the weights.

    Attributes:
        vocab_size: Words of the prompt grammar; the embedding has one more row, the null word that
            stands for "no condition".
        max_words: Words in a padded prompt.
        image_size: Side of the square image in pixels.
        patch_size: Side of a patch in pixels; must divide ``image_size``.
        channels: Colour channels.
        width: Size of a token.
        depth: Number of blocks.
        num_heads: Attention heads; must divide ``width``.
        mlp_ratio: Hidden size of the feed-forward part over ``width``.
        text_depth: Number of blocks that encode the words.
        num_frequencies: Fourier features of the time.
        max_frequency: Highest of them in radians per unit of rectified-flow time. It bounds dv/dt,
            which consistency tangents see.
        end_time: Whether the network predicts average velocities up to an end time that it is told.
        discriminator: Whether it has a head on its middle block that tells data from samples.
        log_weight: Whether it carries a learned weight of a loss over time.
    """

    vocab_size: int
    max_words: int = 12
    image_size: int = 40
    patch_size: int = 5
    channels: int = 3
    width: int = 256
    depth: int = 6
    num_heads: int = 4
    mlp_ratio: int = 3
    text_depth: int = 2
    num_frequencies: int = 32
    max_frequency: float = 32.0
    end_time: bool = False
    discriminator: bool = False
    log_weight: bool = False

    def __post_init__(self) -> None:
        """Refuse shapes that do not divide."""
        for name, value in self.sizes():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"patch_size ({self.patch_size}) must divide image_size ({self.image_size})"
            )
        if self.width % self.num_heads:
            raise ValueError(f"num_heads ({self.num_heads}) must divide width ({self.width})")

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the integer fields with their names."""
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, int) and not isinstance(value, bool):
                yield name, value


class EncodedText(NamedTuple):
    """A prompt as the blocks read it."""

    words: Tensor  # (B, L, D)
    pooled: Tensor  # (B, D)


class DiT(nn.Module):
    """The velocity network v(x_t, t, prompt) of rectified flow, x_t = (1 - t) x0 + t eps."""

    frequencies: Tensor

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        width, side = config.width, config.image_size // config.patch_size
        patch_dim = config.channels * config.patch_size**2
        self.patch_in = nn.Linear(patch_dim, width)
        self.position = nn.Parameter(torch.randn(1, side * side, width) * 0.02)
        self.word_embedding = nn.Embedding(config.vocab_size + 1, width)
        nn.init.normal_(self.word_embedding.weight, std=0.5)
        self.word_position = nn.Parameter(torch.randn(1, config.max_words, width) * 0.1)
        self.text_blocks = nn.ModuleList(
            TextBlock(width, config.num_heads) for _ in range(config.text_depth)
        )
        # Ordered pooling: "A left of B" and "B left of A" must not pool to the same vector.
        self.pool = nn.Linear(config.max_words * 32, width)
        self.pool_in = nn.Linear(width, 32)
        self.time_in = nn.Sequential(
            nn.Linear(2 * config.num_frequencies, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(
            Block(width, config.num_heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.final_modulation = nn.Linear(width, 2 * width)
        self.patch_out = nn.Linear(width, patch_dim)
        for layer in (self.modulation, self.final_modulation, self.patch_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.gap_in: nn.Sequential | None = None
        if config.end_time:
            # At first the end time changes nothing: the network starts as the one it came from.
            last = nn.Linear(width, width)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.gap_in = nn.Sequential(
                nn.Linear(2 * config.num_frequencies, width), nn.SiLU(), last
            )
        self.discriminator = QueryHead(width, config.num_heads) if config.discriminator else None
        self.weight_head = TimeHead(2 * config.num_frequencies) if config.log_weight else None
        frequencies = torch.logspace(
            0, math.log10(config.max_frequency), config.num_frequencies, dtype=torch.float64
        )
        self.register_buffer("frequencies", frequencies.float(), persistent=False)

    def encode(self, tokens_BL: Tensor) -> EncodedText:
        """Encode padded word ids, (B, max_words) integers; the null id means no condition."""
        words_BLD = self.word_embedding(tokens_BL) + self.word_position
        for block in self.text_blocks:
            words_BLD = block(words_BLD)
        return EncodedText(words_BLD, self.pool(self.pool_in(words_BLD).flatten(1)))

    def _features(self, t_B: Tensor) -> Tensor:
        dtype = self.position.dtype
        angle = t_B.to(dtype)[:, None] * self.frequencies.to(dtype)
        return torch.cat([angle.cos(), angle.sin()], dim=-1)

    def _condition(self, t_B: Tensor, s_B: Tensor | None, pooled_BD: Tensor) -> Tensor:
        # The time path stays in full precision: a rounded time ruins dv/dt.
        with torch.autocast(t_B.device.type, enabled=False):
            embedded = self.time_in(self._features(t_B)) + pooled_BD.to(self.position.dtype)
            if self.gap_in is not None and s_B is not None:
                embedded = embedded + self.gap_in(self._features(t_B - s_B))
            return functional.silu(embedded)

    def forward(
        self,
        x_BCSS: Tensor,
        t_B: Tensor,
        cond: Tensor | EncodedText,
        s_B: Tensor | None = None,
    ) -> Tensor:
        """Predict the velocity eps - x0.

        Args:
            x_BCSS: Noisy images (B, C, S, S) on the rectified-flow path.
            t_B: Rectified-flow times (B,) in [0, 1], 1 is noise.
            cond: Word ids (B, max_words), or what ``encode`` made of them.
            s_B: End times (B,) of the average velocity, for networks with ``end_time``.

        Returns:
            The velocity (B, C, S, S), at least float32.

        Raises:
            ValueError: End times were given to a network without, or not given to one with them.
        """
        if (s_B is not None) != self.config.end_time:
            says = "needs s_B" if self.config.end_time else "takes no s_B"
            raise ValueError(f"a network with end_time={self.config.end_time} {says}")
        x_BND, condition_BD = self._blocks(x_BCSS, t_B, cond, s_B, len(self.blocks))
        with torch.autocast(t_B.device.type, enabled=False):
            final_shift, final_scale = self.final_modulation(condition_BD)[:, None].chunk(2, dim=-1)
        out_BNP = self.patch_out(layer_norm(x_BND) * (1 + final_scale) + final_shift)
        out = _from_patches(out_BNP, self.config)
        return out.to(torch.promote_types(out.dtype, torch.float32))

    def logits(self, x_BCSS: Tensor, t_B: Tensor, cond: Tensor | EncodedText) -> Tensor:
        """Tell noisy data from noisy samples by the tokens after half of the blocks.

        Args:
            x_BCSS: Noisy images (B, C, S, S) on the rectified-flow path.
            t_B: Rectified-flow times (B,) in [0, 1].
            cond: As in ``forward``.

        Returns:
            Logits (B,), positive for data.

        Raises:
            ValueError: The network has no discriminator.
        """
        if self.discriminator is None:
            raise ValueError("a network with discriminator=False has no logits")
        half = max(1, len(self.blocks) // 2)
        logits: Tensor = self.discriminator(self._blocks(x_BCSS, t_B, cond, None, half)[0])
        return logits

    def log_weight(self, t_B: Tensor) -> Tensor:
        """Return the learned weight w (B,) of a loss at rectified-flow times (B,).

        Raises:
            ValueError: The network has none.
        """
        if self.weight_head is None:
            raise ValueError("a network with log_weight=False has no weight")
        with torch.autocast(t_B.device.type, enabled=False):
            found: Tensor = self.weight_head(self._features(t_B))
        return found

    def _blocks(
        self,
        x_BCSS: Tensor,
        t_B: Tensor,
        cond: Tensor | EncodedText,
        s_B: Tensor | None,
        count: int,
    ) -> tuple[Tensor, Tensor]:
        """Return tokens (B, N, D) after the first ``count`` blocks, and the condition (B, D)."""
        words_BLD, pooled_BD = cond if isinstance(cond, EncodedText) else self.encode(cond)
        condition_BD = self._condition(t_B, s_B, pooled_BD)
        with torch.autocast(t_B.device.type, enabled=False):
            modulation = self.modulation(condition_BD)[:, None]
        x_BND = self.patch_in(_to_patches(x_BCSS, self.config.patch_size)) + self.position
        for block in list(self.blocks)[:count]:
            x_BND = block(x_BND, words_BLD, modulation)
        return x_BND, condition_BD


def with_parts(net: DiT, *parts: str) -> DiT:
    """Copy a network into one with further parts, which do not change what it predicts at first.

    Args:
        net: Network of velocities.
        parts: Of ``"end_time"``, ``"discriminator"`` and ``"log_weight"``.
    """
    if not parts:
        return net
    config = replace(net.config, **dict.fromkeys(parts, True))
    wider = DiT(config).to(net.position.device, net.position.dtype)
    missing, unexpected = wider.load_state_dict(net.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith(("gap_in.", "discriminator.", "weight_head.")) for name in missing)
    return wider


def _to_patches(x_BCSS: Tensor, patch: int) -> Tensor:
    batch, channels, side, _ = x_BCSS.shape
    grid = side // patch
    x = x_BCSS.reshape(batch, channels, grid, patch, grid, patch)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, grid * grid, channels * patch * patch)


def _from_patches(x_BNP: Tensor, config: DiTConfig) -> Tensor:
    grid, patch, channels = (
        config.image_size // config.patch_size,
        config.patch_size,
        config.channels,
    )
    x = x_BNP.reshape(-1, grid, grid, channels, patch, patch)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, grid * patch, grid * patch)
