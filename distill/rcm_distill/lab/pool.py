"""A pool of rendered scenes on one device, from which training batches are drawn."""

from typing import NamedTuple, Self

import torch
from torch import Generator, Tensor

from rcm_distill.lab.pool_file import Pairs
from rcm_distill.lab.render import DATA_SCALE, render
from rcm_distill.lab.world import sample_training

_CHUNK = 4096


class PoolBatch(NamedTuple):
    """Scaled images x0 (B, 3, 40, 40), float32, and token ids (B, MAX_WORDS), int64."""

    x0: Tensor
    tokens: Tensor


class Pool:
    """Rendered training pairs held as uint8 (4.8 kB each), as the stored PNGs would hold them."""

    def __init__(self, num_images: int, seed: int, device: torch.device | str = "cpu") -> None:
        """Draw and render the pool.

        Args:
            num_images: How many pairs.
            seed: Seed of the pool; the same seed gives the same pool on one kind of device.
            device: Where the pool lives.
        """
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        generator = Generator(device).manual_seed(seed)
        images, tokens = [], []
        for start in range(0, num_images, _CHUNK):
            pairs = sample_training(min(_CHUNK, num_images - start), generator, device)
            levels = ((render(pairs.scenes) + 1) * 127.5).round()
            images.append(levels.clamp(0, 255).to(torch.uint8))
            tokens.append(pairs.tokens)
        self.images = torch.cat(images)
        self.tokens = torch.cat(tokens)

    @classmethod
    def of(cls, pairs: Pairs, device: torch.device | str = "cpu") -> Self:
        """Hold pairs that are there already, such as those of a file."""
        pool = cls.__new__(cls)
        pool.images, pool.tokens = (part.to(device) for part in pairs)
        return pool

    def __len__(self) -> int:
        """Return how many pairs the pool holds."""
        return len(self.images)

    def batch(self, size: int, generator: Generator) -> PoolBatch:
        """Draw pairs with replacement.

        Args:
            size: Batch size.
            generator: Source of randomness on the pool's device.
        """
        index = torch.randint(
            len(self.images), (size,), generator=generator, device=self.images.device
        )
        x0 = (self.images[index].float() / 127.5 - 1) * DATA_SCALE
        return PoolBatch(x0=x0, tokens=self.tokens[index])
