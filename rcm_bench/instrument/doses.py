"""Renderers with a known fault: collapse, blur, noise, or scenes of another prompt.

Legend: P prompts, N samples of each; images lie in the order (prompt, sample).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcm_bench.diversity_calibration.generators import Collapse, draw

if TYPE_CHECKING:
    from rcm_distill.lab.grammar import Prompt
    from rcm_distill.lab.world import Scenes

Images = NDArray[np.uint8]
MODES_SEED = 31
COLLAPSED = ("modes", "weight", "shrink", "color", "place", "background")


class Dose(NamedTuple):
    """A fault and how much of it.

    Attributes:
        kind: Name of the fault; ``"none"`` has none.
        dose: Share of collapse or of wrong scenes, px of blur, or range 0 to 1 of noise.
    """

    kind: str
    dose: float

    def __str__(self) -> str:
        """Name it for tables."""
        return f"{self.kind} {self.dose:g}"


NONE = Dose("none", 0.0)
DOSES = (
    *(Dose("wrong", d) for d in (0.02, 0.05, 0.1, 0.2)),
    *(Dose("modes", 1 / m) for m in (32, 16, 8, 4, 2, 1)),
    *(Dose("weight", d) for d in (0.1, 0.2, 0.3, 0.5, 0.8)),
    *(Dose("shrink", d) for d in (0.05, 0.1, 0.2, 0.4, 0.8)),
    *(Dose(name, d) for name in ("color", "place", "background") for d in (0.2, 0.4, 0.8)),
    *(Dose("blur", d) for d in (0.25, 0.3, 0.5, 0.75, 1.0, 1.5)),
    *(Dose("noise", d) for d in (0.005, 0.01, 0.02, 0.05, 0.1)),
)


def draw_images(prompts: "Sequence[Prompt]", samples: int, dose: Dose, seed: int) -> Images:
    """Draw the images (P N, S, S, 3) of a renderer with a fault.

    Args:
        prompts: P prompts.
        samples: N.
        dose: The fault; a generator's modes are its own and stay from seed to seed.
        seed: Where the samples come from.
    """
    from rcm_distill.lab.damage import Damage
    from rcm_distill.lab.render import render, to_uint8

    images = to_uint8(render(_scenes(prompts, samples, dose, seed)))
    damage = Damage(
        blur=dose.dose if dose.kind == "blur" else 0.0,
        noise=dose.dose if dose.kind == "noise" else 0.0,
    )
    return damage(images, np.random.default_rng([seed, 1]))


def _scenes(prompts: "Sequence[Prompt]", samples: int, dose: Dose, seed: int) -> "Scenes":
    if dose.kind == "wrong":
        return _wrong(prompts, samples, dose.dose, seed, np.random.default_rng([seed, 2]))
    collapse = Collapse(*dose) if dose.kind in COLLAPSED else Collapse("none", 0.0)
    return draw(prompts, samples, collapse, MODES_SEED, seed)


def _wrong(
    prompts: "Sequence[Prompt]", samples: int, share: float, seed: int, rng: np.random.Generator
) -> "Scenes":
    """Draw scenes of which a share shows another prompt of its task."""
    from torch import Generator

    from rcm_distill.lab.world import sample_scenes

    by_task: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_task.setdefault(prompt.task, []).append(prompt)
    shown = []
    for prompt in prompts:
        others = [other for other in by_task[prompt.task] if other is not prompt]
        for _ in range(samples):
            other = others[int(rng.integers(len(others)))]
            shown.append(other if rng.random() < share else prompt)
    return sample_scenes(shown, Generator().manual_seed(seed))


def expected(metric: str, dose: Dose, damaged: "Sequence[float]") -> float | None:
    """Return what a metric should say of a fault, where that is known without the oracle.

    Two samples of a collapsed prompt are both its mode with probability d^2 and then do not differ;
    of m equal modes with probability 1 / m. ``shrink`` draws places and sizes together by 1 - d.
    Where colours alone are the mode's nothing is known in closed form: the objects of a counting
    prompt are matched by place, and their equal colours then differ. PSNR and sharpness of blur and
    noise are taken of the images before and after.

    Args:
        metric: Such as ``"diversity.color"``.
        dose: The fault.
        damaged: PSNR and ratio of high-frequency energies after the damage.
    """
    benchmark, _, name = metric.partition(".")
    if benchmark == "geneval":
        return 1 - dose.dose if dose.kind == "wrong" and name == "overall" else None
    if benchmark == "detail":
        known = dose.kind in ("blur", "noise")
        return dict(zip(("psnr", "sharpness"), damaged, strict=True)).get(name) if known else None
    parts = ("color", "place", "size", "background") if name == "overall" else (name,)
    each = [_diversity(part, *dose) for part in parts]
    known_parts = [part for part in each if part is not None]
    return float(np.mean(known_parts)) if len(known_parts) == len(parts) else None


def _diversity(name: str, kind: str, d: float) -> float | None:
    if kind == "modes":
        return 1 - d
    if kind == "weight":
        return 1 - d**2
    if kind == "shrink":
        return None if name == "color" else 1 - d
    if kind in ("color", "place", "background"):
        if name == "color" == kind:
            return None
        touched = name == kind or (kind == "place" and name == "size")
        return 1 - d**2 if touched else 1.0
    return None


def damage_of(
    prompts: "Sequence[Prompt]", samples: int, dose: Dose, seed: int
) -> tuple[float, float]:
    """Return the mean PSNR of damaged images and their high-frequency energy over that before.

    Against the scene as it is drawn, before it is rounded to 8 bits.

    Args:
        prompts: P prompts.
        samples: N.
        dose: Blur or noise.
        seed: As in ``draw_images``.
    """
    import torch

    from rcm_distill.lab.oracle import high_frequency
    from rcm_distill.lab.render import render

    before = render(_scenes(prompts, samples, dose, seed)).clamp(-1, 1)
    images = torch.from_numpy(draw_images(prompts, samples, dose, seed))
    after = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    residual = ((after - before) / 2).square().mean((1, 2, 3)).sqrt()
    energies = high_frequency(after).sum() / high_frequency(before).sum()
    return float((-20 * residual.log10()).mean()), float(energies)
