"""Where things stand and how large they are: the law of places and sizes in the laboratory.

Radii are uniform (RADII_FEW px for one or two objects, RADII_MANY px for three or four) and
centres are uniform where the object is inside the frame, independently per object; a layout is then
accepted if all objects keep GAP px apart and a stated relation holds clearly. Rejection makes the
law the uniform one conditioned on validity.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from rcm_distill.lab.grammar import MAX_OBJECTS

SIZE = 40  # px, width and height of an image
RADII_FEW = (6.0, 9.0)  # px, circumscribed radius with one or two objects
RADII_MANY = (5.0, 7.0)  # px, with three or four
GAP = 1.5  # px between circumscribed circles
MARGIN = 1.0  # px between a circumscribed circle and the frame
DOMINANCE = 1.5  # in a relation, the named axis' offset is at least this multiple of the other's

_FIRST_CANDIDATES = 16
_CANDIDATES = 128
_MAX_LAYOUTS = 1 << 21  # candidate layouts held at once; bounds memory
_MAX_ROUNDS = 1000  # four objects fail a round of 128 about once in ten: never reached


class Layout(NamedTuple):
    """Places and sizes.

    Attributes:
        xy: Centres in px, x to the right and y down, (..., MAX_OBJECTS, 2).
        radius: Circumscribed radii in px, (..., MAX_OBJECTS).
    """

    xy: Tensor
    radius: Tensor


def is_valid(layout: Layout, count: Tensor, relation: Tensor) -> Tensor:
    """Tell which layouts keep the gap and, where one is stated, the relation of object 0 to 1.

    Args:
        layout: Layouts, (..., MAX_OBJECTS, 2) and (..., MAX_OBJECTS).
        count: How many leading objects exist, broadcasting to (...).
        relation: Index into RELATIONS, -1 for none, broadcasting to (...).
    """
    i, j = torch.triu_indices(MAX_OBJECTS, MAX_OBJECTS, 1, device=layout.xy.device)
    distance = torch.linalg.vector_norm(layout.xy[..., i, :] - layout.xy[..., j, :], dim=-1)
    apart = distance >= layout.radius[..., i] + layout.radius[..., j] + GAP
    valid: Tensor = (apart | (j >= count.unsqueeze(-1))).all(-1)
    offset = layout.xy[..., 0, :] - layout.xy[..., 1, :]
    vertical = relation >= 2
    along = torch.where(vertical, offset[..., 1], offset[..., 0])
    across = torch.where(vertical, offset[..., 0], offset[..., 1])
    negative = (relation == 0) | (relation == 2)  # left of and above: the smaller coordinate
    along = torch.where(negative, -along, along)
    valid &= (relation < 0) | (along >= DOMINANCE * across.abs())
    return valid


def _propose(count: Tensor, candidates: int, generator: Generator) -> Layout:
    """Draw unconditioned layouts, (B, candidates, ...)."""
    shape = (count.shape[0], candidates, MAX_OBJECTS, 3)
    u = torch.rand(shape, generator=generator, device=count.device)
    few = (count <= 2).view(-1, 1, 1)
    low = torch.where(few, RADII_FEW[0], RADII_MANY[0])
    span = torch.where(few, RADII_FEW[1] - RADII_FEW[0], RADII_MANY[1] - RADII_MANY[0])
    radius = low + span * u[..., 2]
    border = radius.unsqueeze(-1) + MARGIN
    return Layout(xy=border + (SIZE - 2 * border) * u[..., :2], radius=radius)


def sample_layouts(count: Tensor, relation: Tensor, generator: Generator) -> Layout:
    """Draw one valid layout per scene by vectorised rejection.

    Args:
        count: Number of objects, int64 (B,), 1 to MAX_OBJECTS.
        relation: Index into RELATIONS that object 0 has to object 1, -1 for none, int64 (B,).
        generator: Source of randomness on the device of ``count``.

    Returns:
        Layout of (B, MAX_OBJECTS, 2) and (B, MAX_OBJECTS); slots past ``count`` hold zeros.
    """
    device = count.device
    xy = torch.zeros(count.shape[0], MAX_OBJECTS, 2, device=device)
    radius = torch.zeros(count.shape[0], MAX_OBJECTS, device=device)
    open_ = torch.arange(count.shape[0], device=device)
    for round_ in range(_MAX_ROUNDS):
        candidates = _FIRST_CANDIDATES if round_ == 0 else _CANDIDATES
        failed = []
        for rows in torch.split(open_, max(1, _MAX_LAYOUTS // candidates)):
            n, r = count[rows].unsqueeze(-1), relation[rows].unsqueeze(-1)
            proposal = _propose(count[rows], candidates, generator)
            valid = is_valid(proposal, n, r)
            first = valid.to(torch.uint8).argmax(1)  # the first valid one
            index = torch.arange(len(rows), device=device)
            xy[rows] = proposal.xy[index, first]
            radius[rows] = proposal.radius[index, first]
            failed.append(rows[~valid[index, first]])
        open_ = torch.cat(failed) if failed else open_
        if open_.numel() == 0:
            break
    else:
        raise RuntimeError(f"no valid layout in {_MAX_ROUNDS} rounds for {open_.numel()} scenes")
    present = torch.arange(MAX_OBJECTS, device=device) < count.unsqueeze(-1)
    return Layout(xy=xy * present.unsqueeze(-1), radius=radius * present)
