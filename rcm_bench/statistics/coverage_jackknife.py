"""What each prompt adds to precision, recall, density and coverage, neighbourhoods moved too.

A number of PRDC is no sum over prompts: without a prompt, its samples are gone, and so are the
neighbours that others had among them. Each prompt is therefore left out in turn, its real and its
fake samples together, and the number taken again. The jackknife's variance, of these, is on average
at least the true one, whatever the statistic (Efron and Stein 1981), where the bootstrap fails for
nearest neighbours (Abadie and Imbens 2008). Its cost: intervals are too wide rather than too short.

Legend: R real samples, F fake samples, A owners of balls, P points, n prompts.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcm_bench.statistics.clusters import Floats
from rcm_bench.statistics.coverage import NEAREST, blocks

Ints = NDArray[np.int64]


class LeftOut(NamedTuple):
    """Each number without each prompt, (n,)."""

    precision: Floats
    density: Floats
    recall: Floats
    coverage: Floats


class _Grown(NamedTuple):
    """Balls that grow when a prompt is left out, T of them, sorted by prompt."""

    owner: Ints
    prompt: Ints
    radius: Floats


class _Balls(NamedTuple):
    """Balls around a set's samples."""

    prompts: Ints
    radius: Floats
    grown: _Grown


def without_each(
    real: Floats, fake: Floats, real_prompts: Ints, fake_prompts: Ints, nearest: int = NEAREST
) -> LeftOut:
    """Leave each prompt out in turn.

    Args:
        real: (R, D).
        fake: (F, D).
        real_prompts: (R,) number of each sample's prompt, from 0.
        fake_prompts: (F,) the same.
        nearest: k. Without any prompt, each set must have more samples than these.
    """
    if (least := smallest(real_prompts, fake_prompts)) <= nearest:
        raise ValueError(f"{nearest} neighbours need more samples than {least}")
    num = int(max(real_prompts.max(), fake_prompts.max())) + 1
    num_real, num_fake = (
        len(each) - np.bincount(each, minlength=num) for each in (real_prompts, fake_prompts)
    )
    real_balls = _balls(real, real_prompts, nearest)
    inside, counts = _held(fake, fake_prompts, real, real_balls, num)
    reached, _ = _held(real, real_prompts, fake, _balls(fake, fake_prompts, nearest), num)
    return LeftOut(
        precision=inside / num_fake,
        density=counts / nearest / num_fake,
        recall=reached / num_real,
        coverage=_covered(real, fake, fake_prompts, real_balls, num) / num_real,
    )


def smallest(real_prompts: Ints, fake_prompts: Ints) -> int:
    """Return how many samples the smaller set has without its largest prompt; 0 for none."""
    return min(
        len(each) - int(np.bincount(each).max()) if len(each) else 0
        for each in (real_prompts, fake_prompts)
    )


def _nearest(a: Floats, b: Floats, number: int, *, itself: bool) -> tuple[Ints, Floats]:
    """Return the nearest rows of b for each row of a, nearest first, (A, number)."""
    index: Ints = np.empty((len(a), number), dtype=np.int64)
    distance: Floats = np.empty((len(a), number))
    for rows, found in blocks(a, b):
        if itself:
            found[np.arange(len(found)), np.arange(rows.start, rows.stop)] = np.inf
        order = np.argsort(found, axis=1, kind="stable")[:, :number]
        index[rows], distance[rows] = order, np.take_along_axis(found, order, axis=1)
    return index, distance


def _balls(features: Floats, prompts: Ints, nearest: int) -> _Balls:
    """Return balls to the k-th neighbour, and how they grow as prompts are left out."""
    most = int(np.bincount(prompts).max())
    number = min(nearest + most, len(features) - 1)
    index, distance = _nearest(features, features, number, itself=True)
    found = [
        _Grown(np.nonzero(there)[0], prompt[there], radius[there])
        for prompt, radius, there in _replaced(prompts[index], distance, nearest)
    ]
    owner, prompt, radius = (np.concatenate(part) for part in zip(*found, strict=True))
    foreign = prompts[owner] != prompt  # an owner that is left out has no ball
    order = np.argsort(prompt[foreign], kind="stable")
    grown = _Grown(*(part[foreign][order] for part in (owner, prompt, radius)))
    return _Balls(prompts, distance[:, nearest - 1], grown)


def _replaced(
    labels: Ints, distance: Floats, nearest: int
) -> Iterator[tuple[Ints, Floats, NDArray[np.bool_]]]:
    """Yield, for each of the k nearest, its prompt, the k-th distance without it, and if it is new.

    Args:
        labels: (A, L) prompts of the nearest, nearest first.
        distance: (A, L) their distances.
        nearest: k.
    """
    rows = np.arange(len(labels))
    for j in range(nearest):
        prompt = labels[:, j]
        kept = (labels != prompt[:, None]).cumsum(1)
        place = (kept >= nearest).argmax(1)
        radius = np.where(kept[:, -1] >= nearest, distance[rows, place], np.inf)
        yield prompt, radius, ~(labels[:, :j] == prompt[:, None]).any(1)


def _held(
    points: Floats, prompts: Ints, owners: Floats, balls: _Balls, num: int
) -> tuple[Floats, Floats]:
    """Return, without each prompt, how many points lie in a ball, and in how many in all."""
    belongs = np.zeros((len(owners), num), dtype=np.float32)
    belongs[np.arange(len(owners)), balls.prompts] = 1
    held, counted = np.zeros(num), np.zeros(num)
    grown = balls.grown
    starts = np.searchsorted(grown.prompt, np.arange(num + 1))
    for rows, distance in blocks(points, owners):
        inside = distance < balls.radius
        count = inside.sum(1)[:, None] - inside.astype(np.float32) @ belongs
        wide = distance[:, grown.owner]
        new = (wide >= balls.radius[grown.owner]) & (wide < grown.radius)
        gained = np.concatenate((np.zeros((len(new), 1)), new.cumsum(1)), axis=1)
        count += gained[:, starts[1:]] - gained[:, starts[:-1]]
        there = prompts[rows][:, None] != np.arange(num)
        held += ((count > 0) & there).sum(0)
        counted += np.where(there, count, 0).sum(0)
    return held, counted


def _covered(real: Floats, fake: Floats, fake_prompts: Ints, balls: _Balls, num: int) -> Floats:
    """Return, without each prompt, how many real samples have a fake one in their own ball."""
    number = min(int(np.bincount(fake_prompts).max()) + 1, len(fake))
    index, distance = _nearest(real, fake, number, itself=False)
    ((prompt, second, _),) = _replaced(fake_prompts[index], distance, 1)
    closest = distance[:, 0]
    radius = np.tile(balls.radius[:, None], (1, num))
    radius[balls.grown.owner, balls.grown.prompt] = balls.grown.radius
    nearest_fake = np.tile(closest[:, None], (1, num))
    nearest_fake[np.arange(len(real)), prompt] = second
    there = balls.prompts[:, None] != np.arange(num)
    found: Floats = ((nearest_fake < radius) & there).sum(0).astype(np.float64)
    return found
