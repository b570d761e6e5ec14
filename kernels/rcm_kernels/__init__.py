"""Attention that carries tangents."""

from rcm_kernels.api import attention, attention_with_tangent
from rcm_kernels.reference import AttentionResult

__all__ = ["AttentionResult", "attention", "attention_with_tangent"]
