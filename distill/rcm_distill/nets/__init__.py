"""Networks: one architecture a file."""

from rcm_distill.nets.dit import DiT, DiTConfig, EncodedText, with_end_time

__all__ = ["DiT", "DiTConfig", "EncodedText", "with_end_time"]
