"""A fresh source of randomness for every test; pytest shows the seed when one fails."""

import secrets

import pytest
import torch


@pytest.fixture
def rng():
    seed = secrets.randbits(31)
    print(f"seed {seed}")
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def randn(rng):
    """Draw fp64 normal numbers."""

    def draw(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    return draw


@pytest.fixture
def rand_t(rng):
    """Draw fp64 TrigFlow times, ends left out."""

    def draw(n, low=0.02, high=1.55):
        return low + (high - low) * torch.rand(n, generator=rng, dtype=torch.float64)

    return draw
