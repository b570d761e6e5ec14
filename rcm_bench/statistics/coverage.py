"""Precision, recall, density and coverage of one set of samples by another (PRDC).

The real set is the teacher's samples: coverage is the share of them that the student reaches.
Legend: R real samples, F fake samples, D features.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcm_bench.statistics.clusters import Floats

NEAREST = 5
_BLOCK = 512
Flags = NDArray[np.bool_]


class Prdc(NamedTuple):
    """What each single sample adds; the four numbers are the means.

    Attributes:
        precision: (F,) whether a fake sample lies in a ball of a real one.
        density: (F,) number of real balls that it lies in, over k.
        recall: (R,) whether a real sample lies in a ball of a fake one.
        coverage: (R,) whether the nearest fake sample lies in the real sample's own ball.
    """

    precision: Flags
    density: Floats
    recall: Flags
    coverage: Flags


def prdc(real: Floats, fake: Floats, nearest: int = NEAREST) -> Prdc:
    """Compare two sets by balls around each sample that reach to its k-th neighbour in its set.

    Precision and recall after Kynkaanniemi et al. 2019, density and coverage after Naeem et al.
    2020, equations 3 to 6; Euclidean distances.

    Args:
        real: (R, D), R > k.
        fake: (F, D), F > k.
        nearest: k.

    Raises:
        ValueError: A set has no k-th neighbour, or the two have different features.
    """
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"expected {real.shape[1]} features, got {fake.shape[1]}")
    if min(len(real), len(fake)) <= nearest:
        raise ValueError(
            f"{nearest} neighbours need more than {nearest} samples in each set, "
            f"got {len(real)} and {len(fake)}"
        )
    real_radius, fake_radius = radii(real, nearest), radii(fake, nearest)
    in_real = np.zeros(len(fake))
    recall = np.zeros(len(real), dtype=np.bool_)
    covered = np.zeros(len(real), dtype=np.bool_)
    for rows, distances in blocks(real, fake):
        # Strictly inside, as in the reference code: a radius of 0 holds nothing.
        in_real += (distances < real_radius[rows, None]).sum(0)
        recall[rows] = (distances < fake_radius).any(1)
        covered[rows] = distances.min(1) < real_radius[rows]
    return Prdc(precision=in_real > 0, density=in_real / nearest, recall=recall, coverage=covered)


def radii(features: Floats, nearest: int) -> Floats:
    """Return the distance of each row to its k-th neighbour, itself not counted, shape (N,)."""
    found = np.empty(len(features))
    for rows, distances in blocks(features, features):
        # Not sqrt of a rounding error: a row is at distance 0 from itself.
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = 0.0
        found[rows] = np.partition(distances, nearest, axis=1)[:, nearest]
    return found


def expected_coverage(real: int, fake: int, nearest: int = NEAREST) -> float:
    """Return the coverage of two sets of one law: what a perfect student has.

    1 - prod_{i=1..k} (R - i) / (R + F - i): the k-th nearest of R - 1 + F points around a sample
    is the first fake one with a probability that no law changes (Naeem et al. 2020, lemma 2).

    Args:
        real: Number of real samples R.
        fake: Number of fake samples F.
        nearest: k.
    """
    steps = np.arange(1, nearest + 1)
    return float(1 - np.prod((real - steps) / (real + fake - steps)))


def blocks(a: Floats, b: Floats) -> Iterator[tuple[slice, Floats]]:
    """Yield Euclidean distances of a's rows to all of b, some rows at a time."""
    lengths = (b * b).sum(1)
    for start in range(0, len(a), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(a)))
        part = a[rows]
        squared = (part * part).sum(1)[:, None] + lengths - 2 * part @ b.T
        yield rows, np.sqrt(np.maximum(squared, 0.0))
