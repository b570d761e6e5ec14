"""Seeds of samples: one random generator per (prompt, seed index), whatever the order of work."""

import hashlib

from rcm_bench.canonical import text_digest

RECIPE = "rcm-bench-1"


def seed_of(prompt: str, index: int, recipe: str = RECIPE) -> int:
    """Derive the seed of one sample.

    The first 8 bytes (big-endian, top bit cleared) of
    sha256("<recipe>|<sha256 of the prompt>|<index>"). Neither model, sampler nor steps take part,
    so that student and teacher start from the same noise.

    Args:
        prompt: The prompt as given.
        index: Which of the samples per prompt, from 0.
        recipe: Name of the recipe; part of the protocol.

    Returns:
        An integer in [0, 2^63).
    """
    text = f"{recipe}|{text_digest(prompt)}|{index}"
    head = hashlib.sha256(text.encode("ascii")).digest()[:8]
    return int.from_bytes(head, "big") & (2**63 - 1)
