"""Attention, its tangent and the gradients of both, written out: what faster paths are held to.

Shape legend: B batch, H heads, G heads of keys and values (H a multiple), S queries, T keys,
D head size, E value size.
Arithmetic runs in promote_types(dtype, float32) with autocast off, so float64 in gives float64 out.
Everything here is made of plain operations on the inputs, and so has derivatives of every order.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rcm_kernels.masking import Masking

Triple = tuple[Tensor, Tensor, Tensor]
Tangents = tuple[Tensor | None, Tensor | None, Tensor | None]  # None: zero


class AttentionResult(NamedTuple):
    """Attention and its directional derivative."""

    output: Tensor  # (B, H, S, E)
    tangent: Tensor  # (B, H, S, E)


class Gradients(NamedTuple):
    """Gradients of a scalar by the inputs, in their shapes; None where a tangent was zero."""

    query: Tensor
    key: Tensor
    value: Tensor
    query_tangent: Tensor | None
    key_tangent: Tensor | None
    value_tangent: Tensor | None


def attention_reference(primals: Triple, masking: Masking, scale: float) -> Tensor:
    """Compute O = softmax(scale Q K^T + bias) V."""
    dtype, heads = primals[0].dtype, primals[0].shape[1]
    with torch.autocast(primals[0].device.type, enabled=False):
        q, k, v = (_wide(x, heads) for x in primals)
        return (_probabilities(q, k, masking, scale) @ v).to(dtype)


def attention_with_tangent_reference(
    primals: Triple, tangents: Tangents, masking: Masking, scale: float
) -> AttentionResult:
    """Compute attention and its tangent from explicit tangents.

    With P = softmax(S) and tS = scale (tQ K^T + Q tK^T):
    tO = (P * (tS - rowsum(P * tS))) V + P tV.
    """
    dtype, heads = primals[0].dtype, primals[0].shape[1]
    with torch.autocast(primals[0].device.type, enabled=False):
        q, k, v = (_wide(x, heads) for x in primals)
        tq, tk, tv = (None if x is None else _wide(x, heads) for x in tangents)
        probs = _probabilities(q, k, masking, scale)
        centred = _centred_score_tangent(q, k, tq, tk, probs, scale)
        parts = [] if centred is None else [(probs * centred) @ v]
        if tv is not None:
            parts.append(probs @ tv)
        output = probs @ v
        tangent = sum(parts[1:], parts[0]) if parts else torch.zeros_like(output)
        return AttentionResult(output.to(dtype), tangent.to(dtype))


def gradients_reference(
    primals: Triple,
    tangents: Tangents,
    grad_output: Tensor | None,
    grad_tangent: Tensor | None,
    masking: Masking,
    scale: float,
) -> Gradients:
    """Compute the gradients by all six inputs from those by output (G) and tangent (T).

    With W = tS - rowsum(P * tS) and X = T V^T - rowsum(P * T V^T):
    dtS = P * X,  Z = G V^T + T tV^T + X * W,  dS = P * (Z - rowsum(P * Z)),
    dQ = scale (dS K + dtS tK),  dK = scale (dS^T Q + dtS^T tQ),  dV = P^T G + (P * W)^T T,
    dtQ = scale dtS K,  dtK = scale dtS^T Q,  dtV = P^T T.
    """
    heads, groups = primals[0].shape[1], primals[1].shape[1]
    with torch.autocast(primals[0].device.type, enabled=False):
        q, k, v = (_wide(x, heads) for x in primals)
        tq, tk, tv = (None if x is None else _wide(x, heads) for x in tangents)
        G, T = (None if x is None else _wide(x, heads) for x in (grad_output, grad_tangent))
        probs = _probabilities(q, k, masking, scale)
        W = None if T is None else _centred_score_tangent(q, k, tq, tk, probs, scale)
        Z, dV = torch.zeros_like(probs), torch.zeros_like(v)
        if G is not None:
            Z, dV = Z + G @ v.mT, dV + probs.mT @ G
        if T is not None and tv is not None:
            Z = Z + T @ tv.mT
        dtS = None
        if T is not None and W is not None:
            X = T @ v.mT
            X = X - (probs * X).sum(-1, keepdim=True)
            Z, dV, dtS = Z + X * W, dV + (probs * W).mT @ T, probs * X
        dS = probs * (Z - (probs * Z).sum(-1, keepdim=True))
        dQ, dK = dS @ k, dS.mT @ q
        if dtS is not None:
            dQ = dQ if tk is None else dQ + dtS @ tk
            dK = dK if tq is None else dK + dtS.mT @ tq
        found = [
            scale * dQ,
            _narrow_heads(scale * dK, groups),
            _narrow_heads(dV, groups),
            None if tq is None or dtS is None else scale * (dtS @ k),
            None if tk is None or dtS is None else _narrow_heads(scale * (dtS.mT @ q), groups),
            None if tv is None or T is None else _narrow_heads(probs.mT @ T, groups),
        ]
        dtype = primals[0].dtype
        return Gradients(*(None if x is None else x.to(dtype) for x in found))  # type: ignore[arg-type]


def _wide(x: Tensor, heads: int) -> Tensor:
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if x.shape[1] == heads:
        return x
    return x.unsqueeze(2).expand(-1, -1, heads // x.shape[1], -1, -1).flatten(1, 2)


def _narrow_heads(x: Tensor, groups: int) -> Tensor:
    batch, _, length, size = x.shape
    return x if x.shape[1] == groups else x.view(batch, groups, -1, length, size).sum(2)


def _probabilities(q: Tensor, k: Tensor, masking: Masking, scale: float) -> Tensor:
    scores_BHST = (q @ k.mT) * scale
    if masking.bias is not None:
        scores_BHST = scores_BHST + masking.bias
    if masking.visible is None:
        return torch.softmax(scores_BHST, dim=-1)
    # The lowest finite number instead of -inf: a row without keys must not become NaN.
    hidden = ~masking.visible
    lowest = torch.finfo(scores_BHST.dtype).min
    return torch.softmax(scores_BHST.masked_fill(hidden, lowest), dim=-1).masked_fill(hidden, 0.0)


def _centred_score_tangent(
    q: Tensor, k: Tensor, tq: Tensor | None, tk: Tensor | None, probs: Tensor, scale: float
) -> Tensor | None:
    """Return W = tS - rowsum(P * tS), or None where queries and keys stand still."""
    parts = [] if tq is None else [tq @ k.mT]
    if tk is not None:
        parts.append(q @ tk.mT)
    if not parts:
        return None
    t_scores = sum(parts[1:], parts[0]) * scale
    centred: Tensor = t_scores - (probs * t_scores).sum(-1, keepdim=True)
    return centred
