import secrets

import pytest
import torch


@pytest.fixture
def rng():
    """Fresh inputs in every run; the seed is printed where a test fails."""
    seed = secrets.randbits(31)
    print(f"seed {seed}")
    return torch.Generator().manual_seed(seed)
