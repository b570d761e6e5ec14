import os
import secrets
from importlib.util import find_spec

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def interpreted_whole():
    """Triton's own functions are compiled or interpreted for good as they are first imported."""
    if os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton"):
        from triton import language

        assert type(language.sum).__name__ == "InterpretedFunction", (
            "Triton was imported before TRITON_INTERPRET was set: a test module that is collected "
            "before these imports it (torchvision does); import that in the function that needs it"
        )


@pytest.fixture
def rng():
    """Fresh inputs in every run; the seed is printed where a test fails."""
    seed = secrets.randbits(31)
    print(f"seed {seed}")
    return torch.Generator().manual_seed(seed)
