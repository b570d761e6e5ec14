"""Checks of what callers pass: every message says what was expected and what came."""

from typing import get_args

import torch
from torch import Tensor

from rcm_kernels.choice import Impl

_NAMES = ("query", "key", "value")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_impl(impl: str) -> None:
    """Refuse an unknown implementation."""
    if impl not in get_args(Impl):
        raise ValueError(f"unknown impl '{impl}'. Available: {', '.join(get_args(Impl))}.")


def check_inputs(query: Tensor, key: Tensor, value: Tensor, *, enable_gqa: bool) -> None:
    """Refuse queries, keys and values that do not fit each other."""
    for name, tensor in zip(_NAMES, (query, key, value), strict=True):
        if tensor.ndim != 4:
            raise ValueError(f"{name} must have shape (B, H, S, D), got {tuple(tensor.shape)}")
        if tensor.dtype != query.dtype or tensor.dtype not in _FLOATS:
            raise ValueError(
                "query, key and value must share one dtype of float16, bfloat16, float32 and "
                f"float64, got {query.dtype}, {key.dtype}, {value.dtype}"
            )
        if tensor.device != query.device:
            raise ValueError(
                "query, key and value must be on one device, got "
                f"{query.device}, {key.device}, {value.device}"
            )
    batch, heads, _, head_dim = query.shape
    groups, length = key.shape[1], key.shape[2]
    if not enable_gqa and groups != heads:
        hint = "; enable_gqa=True lets heads share keys" if _divides(key, heads) else ""
        raise ValueError(f"key must have {heads} heads as query has, got {groups}{hint}")
    if enable_gqa and not _divides(key, heads):
        raise ValueError(f"the heads of key ({groups}) must divide the heads of query ({heads})")
    expected = (batch, groups, length, head_dim)
    if tuple(key.shape) != expected:
        raise ValueError(f"key must have shape {expected}, got {tuple(key.shape)}")
    if tuple(value.shape[:3]) != expected[:3]:
        expected = (batch, groups, length, value.shape[3])
        raise ValueError(f"value must have shape {expected}, got {tuple(value.shape)}")


def check_tangents(
    primals: tuple[Tensor, Tensor, Tensor], tangents: tuple[Tensor | None, ...]
) -> None:
    """Refuse tangents that differ from their primals in shape, dtype or device."""
    for name, primal, tangent in zip(_NAMES, primals, tangents, strict=True):
        if tangent is None:
            continue
        if tangent.shape != primal.shape or tangent.dtype != primal.dtype:
            raise ValueError(
                f"{name}_tangent must be {primal.dtype} of shape {tuple(primal.shape)}, "
                f"got {tangent.dtype} of shape {tuple(tangent.shape)}"
            )
        if tangent.device != primal.device:
            raise ValueError(
                f"{name}_tangent must be on {primal.device} as {name} is, got {tangent.device}"
            )


def check_masks(
    query: Tensor,
    key: Tensor,
    *,
    is_causal: bool,
    attn_mask: Tensor | None,
    key_lengths: Tensor | None,
) -> None:
    """Refuse masks that do not fit the scores."""
    batch, heads, num_queries, _ = query.shape
    scores = (batch, heads, num_queries, key.shape[2])
    if attn_mask is not None:
        _check_attn_mask(attn_mask, query, scores)
        if is_causal:
            raise ValueError("give either attn_mask or is_causal=True, got both")
    if key_lengths is None:
        return
    if key_lengths.dtype not in (torch.int32, torch.int64) or tuple(key_lengths.shape) != (batch,):
        raise ValueError(
            f"key_lengths must be int32 or int64 of shape {(batch,)}, "
            f"got {key_lengths.dtype} of shape {tuple(key_lengths.shape)}"
        )
    if key_lengths.device != query.device:
        raise ValueError(
            f"key_lengths must be on {query.device} as query is, got {key_lengths.device}"
        )
    # Reading them elsewhere would wait for the device, or be no constant of a trace.
    if query.device.type == "cpu" and not torch.compiler.is_compiling():
        outside = [n for n in key_lengths.tolist() if not 0 <= n <= key.shape[2]]
        if outside:
            raise ValueError(f"key_lengths must be 0 to {key.shape[2]}, got {outside[0]}")


def _check_attn_mask(mask: Tensor, query: Tensor, scores: tuple[int, int, int, int]) -> None:
    if mask.dtype not in (torch.bool, query.dtype):
        raise ValueError(f"attn_mask must be torch.bool or {query.dtype}, got {mask.dtype}")
    if mask.device != query.device:
        raise ValueError(f"attn_mask must be on {query.device} as query is, got {mask.device}")
    sizes = zip(reversed(mask.shape), reversed(scores), strict=False)
    if mask.ndim > 4 or any(size not in (1, full) for size, full in sizes):
        raise ValueError(f"attn_mask must broadcast to {scores}, got {tuple(mask.shape)}")


def _divides(key: Tensor, heads: int) -> bool:
    return key.shape[1] > 0 and heads % key.shape[1] == 0
