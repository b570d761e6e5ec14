"""How much two images of one prompt differ under the world's own law: the truth for diversity."""

import functools
import itertools
import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from rcm_distill.lab.grammar import COLORS, Prompt
from rcm_distill.lab.layout import sample_layouts

_PAIRS = 6_000  # simulated pairs per kind of prompt; standard errors stay below 0.8 %
_SEED = 20_260_101
TONE = (-0.35, 0.35)  # law of the background's tone, uniform, in [-1, 1]


class Dispersion(NamedTuple):
    """Expected difference of two independent images of one prompt.

    Attributes:
        color: Probability that an object whose colour is free differs in colour; NaN where the
            prompt fixes all colours.
        place: Mean distance of corresponding centres, px.
        size: Mean absolute difference of corresponding radii, px.
        background: Mean absolute difference of the background's tones, image range [-1, 1].
    """

    color: float
    place: float
    size: float
    background: float


class Gap(NamedTuple):
    """Mean distance of centres and mean difference of radii between two layouts, (B,)."""

    place: Tensor
    size: Tensor


def corresponding_gap(
    xy_a: Tensor, radius_a: Tensor, xy_b: Tensor, radius_b: Tensor, *, exchangeable: bool
) -> Gap:
    """Compare objects of two scenes with each other.

    Objects with names correspond by slot. Exchangeable ones (counting) correspond by the
    assignment with the least total distance, which the mean distance is then taken over.

    Args:
        xy_a: Centres, (B, n, 2).
        radius_a: Radii, (B, n).
        xy_b: Centres, (B, n, 2).
        radius_b: Radii, (B, n).
        exchangeable: Whether the objects have the same name.
    """
    n = xy_a.shape[1]
    orders = list(itertools.permutations(range(n))) if exchangeable else [tuple(range(n))]
    order = torch.tensor(orders, device=xy_a.device)
    place = (xy_a.unsqueeze(1) - xy_b[:, order]).norm(dim=-1).mean(-1)
    size = (radius_a.unsqueeze(1) - radius_b[:, order]).abs().mean(-1)
    best = place.argmin(1, keepdim=True)
    return Gap(place=place.gather(1, best).squeeze(1), size=size.gather(1, best).squeeze(1))


@functools.cache
def _layout_gap(count: int, relation: int, exchangeable: bool) -> tuple[float, float]:
    generator = Generator().manual_seed(_SEED)
    counts = torch.full((2 * _PAIRS,), count)
    layout = sample_layouts(counts, torch.full_like(counts, relation), generator)
    (xy_a, xy_b) = torch.split(layout.xy[:, :count], _PAIRS)
    (radius_a, radius_b) = torch.split(layout.radius[:, :count], _PAIRS)
    gap = corresponding_gap(xy_a, radius_a, xy_b, radius_b, exchangeable=exchangeable)
    return float(gap.place.mean()), float(gap.size.mean())


def true_dispersion(prompt: Prompt) -> Dispersion:
    """Return the dispersion of a prompt under the world's law.

    Places and sizes are simulated with a fixed seed; colour and tone are closed forms
    (two uniforms of width w differ by w / 3 on average). Depends on the prompt only through
    its number of objects, whether it states a relation, and whether colours are free.
    """
    position = prompt.include[-1].position
    # The frame is square and the law mirrors: all four relations disperse alike.
    relation = -1 if position is None else 0
    count = sum(clause.count for clause in prompt.include)
    place, size = _layout_gap(count, relation, prompt.task == "counting")
    free = any(clause.color is None for clause in prompt.include)
    return Dispersion(
        color=1 - 1 / len(COLORS) if free else math.nan,
        place=place,
        size=size,
        background=(TONE[1] - TONE[0]) / 3,
    )
