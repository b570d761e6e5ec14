"""Attention and its tangent written out: the definition that every faster path is held to.

Shape legend: B batch, H heads, S queries, T keys, D head size, E value size.
Arithmetic runs in promote_types(dtype, float32) with autocast off, so float64 in gives float64 out.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class AttentionResult(NamedTuple):
    """Attention and its directional derivative."""

    output: Tensor  # (B, H, S, E)
    tangent: Tensor  # (B, H, S, E)


def attention_reference(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, is_causal: bool
) -> Tensor:
    """Compute O = softmax(scale Q K^T) V from plain operations, differentiable in every mode."""
    with torch.autocast(query.device.type, enabled=False):
        q_BHSD, k_BHTD, v_BHTE = _widen(query, key, value)
        probs_BHST = _probabilities(q_BHSD, k_BHTD, scale, is_causal)
        return (probs_BHST @ v_BHTE).to(query.dtype)


def attention_with_tangent_reference(
    primals: tuple[Tensor, Tensor, Tensor],
    tangents: tuple[Tensor, Tensor, Tensor],
    *,
    scale: float,
    is_causal: bool,
) -> AttentionResult:
    """Compute attention and its tangent from explicit tangents.

    With P = softmax(S) and tS = scale (tQ K^T + Q tK^T):
    tO = (P * (tS - rowsum(P * tS))) V + P tV.
    """
    dtype = primals[0].dtype
    with torch.autocast(primals[0].device.type, enabled=False):
        (q, k, v), (tq, tk, tv) = _widen(*primals), _widen(*tangents)
        probs = _probabilities(q, k, scale, is_causal)
        t_scores = (tq @ k.mT + q @ tk.mT) * scale
        centred = t_scores - (probs * t_scores).sum(-1, keepdim=True)
        tangent = (probs * centred) @ v + probs @ tv
        return AttentionResult((probs @ v).to(dtype), tangent.to(dtype))


def _widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors)


def _probabilities(q_BHSD: Tensor, k_BHTD: Tensor, scale: float, is_causal: bool) -> Tensor:
    scores_BHST = (q_BHSD @ k_BHTD.mT) * scale
    if is_causal:
        later = torch.ones(
            scores_BHST.shape[-2:], dtype=torch.bool, device=scores_BHST.device
        ).triu(1)
        scores_BHST = scores_BHST.masked_fill(later, -torch.inf)
    return torch.softmax(scores_BHST, dim=-1)
