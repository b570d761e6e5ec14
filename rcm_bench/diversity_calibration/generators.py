"""Generators that draw scenes of the world's law, collapsed by a known dose, and their truth.

Legend: P prompts, N samples of each; scenes lie in the order (prompt, sample).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from rcm_distill.lab.dispersion import TONE
from rcm_distill.lab.grammar import COLORS, Prompt
from rcm_distill.lab.layout import SIZE
from rcm_distill.lab.world import Scenes, sample_scenes

BINS = 4
RADII, RADIUS_STEP, NUM_RADII = (3.0, 12.0), 0.75, 12  # px
_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "color": ("color",),
    "place": ("xy", "radius", "angle"),
    "background": ("background",),
}


class Collapse(NamedTuple):
    """What a generator does wrong.

    Attributes:
        kind: Name of the failure: none, modes, weight, shrink, or an attribute.
        dose: How much, from 0 (nothing) to 1 (every sample of a prompt is the same).
        noise: Standard deviation of noise that is added to the image, range 0 to 1.
    """

    kind: str
    dose: float
    noise: float = 0.0

    def __str__(self) -> str:
        """Name it for tables."""
        noise = f" + noise {self.noise:g}" if self.noise else ""
        return f"{self.kind} {self.dose:g}{noise}"


MODES = (1, 2, 3, 4, 8, 16)
COLLAPSES = (
    Collapse("none", 0.0),
    *(Collapse("modes", 1 / m) for m in MODES),
    *(Collapse("weight", w) for w in (0.25, 0.5, 0.75, 0.9)),
    *(Collapse("shrink", s) for s in (0.25, 0.5, 0.75, 0.9)),
    *(Collapse(name, dose) for name in _ATTRIBUTES for dose in (0.5, 1.0)),
)
NOISY = (
    Collapse("none", 0.0, 0.1),
    Collapse("modes", 1.0, 0.05),
    Collapse("modes", 1.0, 0.1),
    Collapse("modes", 1.0, 0.2),
)


def draw(
    prompts: Sequence[Prompt], samples: int, collapse: Collapse, modes_seed: int, seed: int
) -> Scenes:
    """Draw scenes of a collapsed generator.

    | kind | a sample is |
    |---|---|
    | modes | one of 1 / dose scenes of its prompt, with equal mass |
    | weight | its prompt's first scene with probability dose, else a fresh one |
    | shrink | a fresh one drawn towards the first by dose; its colours with that probability |
    | color, place, background | a fresh one whose attribute is the first's, with that probability |

    Args:
        prompts: P prompts.
        samples: N.
        collapse: The failure.
        modes_seed: Where the modes come from: they belong to the generator.
        seed: Where the samples come from.
    """
    generator = Generator().manual_seed(seed)
    fresh = sample_scenes([p for p in prompts for _ in range(samples)], generator)
    count = len(prompts) * samples
    first = np.repeat(np.arange(len(prompts)), samples)
    if collapse.kind == "modes":
        number = round(1 / collapse.dose)
        modes = _modes(prompts, number, modes_seed)
        which = torch.randint(number, (count,), generator=generator).numpy()
        return Scenes(*(t[first * number + which] for t in modes))
    mode = Scenes(*(t[first] for t in _modes(prompts, 1, modes_seed)))
    taken = torch.rand(count, generator=generator) < collapse.dose
    if collapse.kind == "weight":
        return _mixed(fresh, mode, taken, Scenes._fields)
    if collapse.kind == "shrink":
        drawn = Scenes(
            *(
                f if not f.is_floating_point() else torch.lerp(f, m, collapse.dose)
                for f, m in zip(fresh, mode, strict=True)
            )
        )
        return _mixed(drawn, mode, taken, ("color",))
    return _mixed(fresh, mode, taken, _ATTRIBUTES.get(collapse.kind, ()))


def _modes(prompts: Sequence[Prompt], number: int, seed: int) -> Scenes:
    generator = Generator().manual_seed(seed)
    return sample_scenes([p for p in prompts for _ in range(number)], generator)


def _mixed(fresh: Scenes, mode: Scenes, taken: Tensor, names: Sequence[str]) -> Scenes:
    def one(name: str) -> Tensor:
        a, b = getattr(fresh, name), getattr(mode, name)
        return torch.where(taken.view(-1, *[1] * (a.ndim - 1)), b, a) if name in names else a

    return Scenes(*(one(name) for name in Scenes._fields))


def coverage(
    prompts: Sequence[Prompt], collapse: Collapse, modes_seed: int, seed: int, draws: int = 300
) -> float:
    """Return the share of the world's law that a generator covers: 1 less the total variation.

    Of the distributions of colour, place, size and tone in bins, averaged over attributes and
    prompts. Both sides are drawn, so that a generator without a fault has a little less than 1.

    Args:
        prompts: The prompts.
        collapse: The failure.
        modes_seed: Where the generator's modes come from.
        seed: Where the draws come from.
        draws: Samples of each prompt on either side.
    """
    own = _binned(draw(prompts, draws, collapse, modes_seed, seed), draws)
    law = _binned(draw(prompts, draws, Collapse("none", 0.0), modes_seed, seed + 1), draws)
    shares = []
    for name, (bins, size) in own.items():
        a, b = _histogram(bins, size), _histogram(law[name][0], size)
        shares.append(np.minimum(a, b).sum(1).mean())
    return float(np.mean(shares))


def _binned(scenes: Scenes, samples: int) -> dict[str, tuple[NDArray[np.int64], int]]:
    """Return the bin of each attribute of the first object, (P, N), and the number of bins."""
    place = (scenes.xy[:, 0] / SIZE * BINS).long().clamp(0, BINS - 1)
    radius = scenes.radius[:, 0]
    low, high = TONE
    tone = ((scenes.background[:, 0] - low) / (high - low) * BINS).long().clamp(0, BINS - 1)
    size = ((radius - RADII[0]) / RADIUS_STEP).long().clamp(0, NUM_RADII - 1)

    def by_prompt(values: Tensor) -> NDArray[np.int64]:
        found: NDArray[np.int64] = values.view(-1, samples).numpy()
        return found

    return {
        "color": (by_prompt(scenes.color[:, 0]), len(COLORS)),
        "place": (by_prompt(place[:, 0] * BINS + place[:, 1]), BINS**2),
        "size": (by_prompt(size), NUM_RADII),
        "tone": (by_prompt(tone), BINS),
    }


def _histogram(bins: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Return shares (P, size) of bins (P, N)."""
    return np.stack([np.bincount(row, minlength=size) / len(row) for row in bins])
