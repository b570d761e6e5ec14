import secrets

import pytest
import torch


@pytest.fixture
def seed() -> int:
    """Fresh on every run; printed so that a failure can be repeated."""
    value = secrets.randbits(32)
    print(f"seed = {value}")
    return value


@pytest.fixture
def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
