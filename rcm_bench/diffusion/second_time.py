"""A second time for diffusers' unmodified networks: the end of a jump by a mean velocity.

Shape legend: B batch, T latent frames.
"""

import copy
from typing import Any

import torch
from torch import Tensor

from rcm_bench.checkpoints.second_time import MODULE
from rcm_bench.diffusion.families import Family

SECOND = "second_timestep"  # the argument that a network takes then
_TIME_ARGUMENT = {"wan": 0, "cosmos": 1}  # of the embedding's forward


def add_second_time(net: Any, family: Family) -> Any:
    """Give a network a second time embedding, and ``second_timestep`` as an argument.

    e(t) + e'(second) goes wherever e(t) went. The second embedding is a copy of the first, with
    weights of its own; its text part holds no weights.

    Args:
        net: diffusers' transformer.
        family: Its family.

    Returns:
        The same network. Its second timestep is of the form of the first: (B,), or (B, 1, T, 1, 1)
        for Cosmos-Predict2 with known frames.
    """
    first = getattr(net, family.time_embedding)
    second = copy.deepcopy(first)
    if hasattr(second, "text_embedder"):
        second.text_embedder = torch.nn.Identity()
    setattr(net, MODULE, second)
    at = _TIME_ARGUMENT[family.name]
    seen: list[Tensor] = []

    def take(_: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        seen[:] = [named.pop(SECOND).flatten()]
        return args, named

    def add(_: Any, args: tuple[Any, ...], named: dict[str, Any], out: tuple[Any, ...]) -> Any:
        given: list[Tensor] = [*args]
        given[at] = seen.pop()
        more = second(*given, **named)
        return (out[0] + more[0], out[1] + more[1], *out[2:])

    net.register_forward_pre_hook(take, with_kwargs=True)
    first.register_forward_hook(add, with_kwargs=True)
    return net
