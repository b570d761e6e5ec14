"""Filling a network with tensors: all of them and nothing else, or an error that names the rest."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rcm_bench.checkpoints.fit import check_fit

if TYPE_CHECKING:
    from torch import Tensor


def fill(model: Any, tensors: "Mapping[str, Tensor]", where: str, *, assign: bool = False) -> None:
    """Fill a network with tensors, all of them and nothing else.

    Args:
        model: The network.
        tensors: Tensors by name.
        where: Their place and file, for messages.
        assign: The tensors become the network's own instead of being copied into it: for a network
            on the device ``meta``, whose start is not drawn in vain.

    Raises:
        UserError: A tensor is missing, unexpected or misshapen.
    """
    shapes = [
        {name: tuple(tensor.shape) for name, tensor in each.items()}
        for each in (model.state_dict(), tensors)
    ]
    check_fit(shapes[0], shapes[1], where)
    model.load_state_dict(dict(tensors), strict=True, assign=assign)
