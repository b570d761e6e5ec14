"""Networks: one architecture a file."""

from rcm_distill.nets.dit import DiT, DiTConfig, EncodedText, with_parts

__all__ = ["DiT", "DiTConfig", "EncodedText", "with_parts"]
