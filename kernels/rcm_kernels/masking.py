"""Who sees whom: causal order, key lengths and PyTorch's attn_mask as one pair of tensors.

Shape legend: B batch, H heads, S queries, T keys.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Masking(NamedTuple):
    """What is done to the scaled scores: hide where not ``visible``, else add ``bias``.

    A query that sees no key at all has output, tangent and gradients zero, as in PyTorch.
    """

    visible: Tensor | None  # booleans that broadcast to (B, H, S, T); None: all
    bias: Tensor | None  # finite, broadcasts to (B, H, S, T); None: zero


def masking(
    query: Tensor,
    key: Tensor,
    *,
    is_causal: bool,
    attn_mask: Tensor | None,
    key_lengths: Tensor | None,
) -> Masking:
    """Combine what hides keys.

    Args:
        query: Queries (B, H, S, D), for their length and device.
        key: Keys (B, H, T, D).
        is_causal: Query i sees the keys 0..i.
        attn_mask: Booleans (True is seen) or scores to add; -inf hides.
        key_lengths: Keys from ``key_lengths[b]`` on are padding, (B,) integers.
    """
    num_queries, num_keys = query.shape[2], key.shape[2]
    keys_T = torch.arange(num_keys, device=query.device)
    parts: list[Tensor] = []
    bias = None
    if is_causal:
        parts.append(torch.arange(num_queries, device=query.device)[:, None] >= keys_T)
    if key_lengths is not None:
        parts.append(keys_T < key_lengths[:, None, None, None])
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        parts.append(attn_mask)
    elif attn_mask is not None:
        # A hidden score of -inf would turn into 0 * inf in the derivatives.
        hidden = attn_mask == -torch.inf
        parts.append(~hidden)
        bias = attn_mask.masked_fill(hidden, 0.0)
    if not parts:
        return Masking(None, bias)
    visible = parts[0]
    for part in parts[1:]:
        visible = visible & part
    return Masking(visible, bias)
