"""A network's working copy with bf16 matrices, rounded once a step and not once in every pass.

Autocast casts every weight of every linear layer in every pass: 84 tiny kernels of a forward pass
of the laboratory's network. The copy has those weights in bf16 and shares all others, so that its
passes under autocast give the same numbers; its gradients are brought back in one call.
"""

import copy
from typing import NamedTuple, Self

import torch
from torch import nn

from rcm_distill.nets.dit import DiT

FULL = ("time_in", "gap_in", "modulation", "final_modulation", "weight_head")
"""Parts of the network that run outside autocast: time and modulation stay in float32."""


class _Pair(NamedTuple):
    wide: nn.Parameter
    low: nn.Parameter


class Lowered:
    """A copy of a network in which autocast has nothing left to cast.

    Attributes:
        net: The copy: it shares every parameter with its source but the lowered ones.
    """

    def __init__(self, source: DiT, dtype: torch.dtype = torch.bfloat16) -> None:
        """Copy a network.

        Args:
            source: The network; its parameters are what an optimiser steps.
            dtype: What autocast would lower to.
        """
        lowered = {
            id(parameter): nn.Parameter(parameter.detach().to(dtype), parameter.requires_grad)
            for name, module in source.named_modules()
            if isinstance(module, nn.Linear) and name.split(".")[0] not in FULL
            for parameter in module.parameters(recurse=False)
        }
        parameters = list(source.parameters())
        self.pairs = [_Pair(p, lowered[id(p)]) for p in parameters if id(p) in lowered]
        # deepcopy takes what its memo has for a parameter: the lowered one, or the source's own.
        self.net: DiT = copy.deepcopy(source, {id(p): lowered.get(id(p), p) for p in parameters})

    @classmethod
    def where_it_pays(cls, source: DiT, precision: str) -> Self | None:
        """Return a copy for mixed precision, and None for float32."""
        return cls(source) if precision == "bf16" else None

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the weights of the source again, after a step."""
        torch._foreach_copy_([low for _, low in self.pairs], [wide for wide, _ in self.pairs])

    @torch.no_grad()
    def collect(self) -> None:
        """Add the copy's gradients to those of the source, in float32, and forget them."""
        learned = [pair for pair in self.pairs if pair.low.grad is not None]
        if not learned:
            return
        arrived = [low.grad for _, low in learned if low.grad is not None]
        if all(wide.grad is None for wide, _ in learned):
            wide_grads = [torch.empty_like(wide) for wide, _ in learned]
            torch._foreach_copy_(wide_grads, arrived)
            for (wide, _), gradient in zip(learned, wide_grads, strict=True):
                wide.grad = gradient
        else:
            for (wide, _), gradient in zip(learned, arrived, strict=True):
                widened = gradient.to(wide.dtype)
                wide.grad = widened if wide.grad is None else wide.grad + widened
        for _, low in learned:
            low.grad = None
