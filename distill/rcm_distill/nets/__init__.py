"""Networks: one architecture a file."""

from rcm_distill.nets.dit import DiT, DiTConfig, EncodedText

__all__ = ["DiT", "DiTConfig", "EncodedText"]
