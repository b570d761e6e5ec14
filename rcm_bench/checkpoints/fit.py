"""Whether tensors fit a network: every key there, none too many, each of the right shape."""

import math
from collections.abc import Iterable, Mapping, Sequence

from rcm_bench.checkpoints.layouts import PATCH
from rcm_bench.errors import UserError

_SHOWN = 8
Shapes = Mapping[str, Sequence[int]]


def check_fit(expected: Shapes, got: Shapes, where: str) -> None:
    """Compare names and shapes.

    Args:
        expected: Shapes by name of the network.
        got: Shapes by name, in the same layout, of the file.
        where: Place and file, for the message.

    Raises:
        UserError: Lists missing, unexpected and misshapen keys.
    """
    both = sorted(set(expected) & set(got))
    wrong = [
        f"{name} {tuple(got[name])} (expected {tuple(expected[name])})"
        for name in both
        if not same_shape(name, expected[name], got[name])
    ]
    faults = [
        ("missing", sorted(set(expected) - set(got))),
        ("unexpected", sorted(set(got) - set(expected))),
        ("of another shape", wrong),
    ]
    said = [f"{len(names)} {what}: {_list(names)}" for what, names in faults if names]
    if said:
        raise UserError(
            f"{where}: expected the {len(expected)} tensors of the network, got {len(got)}; "
            + "; ".join(said)
        )


def same_shape(name: str, expected: Sequence[int], got: Sequence[int]) -> bool:
    """Say whether shapes agree; a patch embedding may come as a matrix (rcm's layout)."""
    if name == PATCH and len(got) == 2 and len(expected) == 5:
        return got[0] == expected[0] and got[1] == math.prod(expected[1:])
    return list(expected) == list(got)


def _list(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
