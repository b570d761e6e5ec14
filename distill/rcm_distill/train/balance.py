"""How the terms of a loss pull at the weights: norms of their gradients, and the angle between."""

from collections.abc import Iterable, Mapping
from itertools import combinations

import torch
from torch import Tensor

PREFIX = "balance."


def gradient_balance(
    parts: Mapping[str, Tensor], parameters: Iterable[Tensor]
) -> dict[str, Tensor]:
    """Differentiate each weighted term of a loss by itself; the graph stays for the whole loss.

    Args:
        parts: Terms as they enter the loss, weights included.
        parameters: What learns.

    Returns:
        ``balance.norm.<term>``, and ``balance.cos.<term>.<term>`` for each pair, detached scalars.
    """
    learned = list(parameters)
    flat = {}
    for name, part in parts.items():
        grads = torch.autograd.grad(part, learned, retain_graph=True, materialize_grads=True)
        flat[name] = torch.cat([grad.flatten() for grad in grads])
    found = {f"{PREFIX}norm.{name}": grad.norm() for name, grad in flat.items()}
    for one, two in combinations(flat, 2):
        found[f"{PREFIX}cos.{one}.{two}"] = torch.cosine_similarity(flat[one], flat[two], dim=0)
    return found
