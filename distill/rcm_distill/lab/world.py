"""The laws of the laboratory: scenes given prompts, and prompts for training.

What a prompt leaves open has a known law: colours uniform over ten and independent per object,
angles uniform in +-MAX_ANGLE rad, places and sizes as in layout.py, and a striped grey background

    tone + amplitude sin(frequency (x cos angle + y sin angle) + phase)

with five independent uniform parameters (BACKGROUND). The grey range is [-1, 1].
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from rcm_distill.lab.dispersion import TONE
from rcm_distill.lab.dispersion import Dispersion as Dispersion
from rcm_distill.lab.dispersion import true_dispersion as true_dispersion
from rcm_distill.lab.grammar import (
    COLORS,
    MAX_OBJECTS,
    RELATIONS,
    SHAPES,
    TASKS,
    Clause,
    Prompt,
    all_prompts,
    encode,
)
from rcm_distill.lab.layout import sample_layouts

MAX_ANGLE = 0.3  # rad
BACKGROUND = {
    "tone": TONE,
    "amplitude": (0.03, 0.12),
    "frequency": (0.5, 1.4),  # rad per px
    "angle": (0.0, math.pi),
    "phase": (0.0, 2 * math.pi),
}


class Scenes(NamedTuple):
    """A batch of scene descriptions; slots hold the objects in the order of the sentence.

    Attributes:
        cls: Index into SHAPES, -1 where there is no object, int64 (B, 4).
        color: Index into COLORS, -1 where there is no object, int64 (B, 4).
        xy: Centres in px, (B, 4, 2).
        radius: Circumscribed radii in px, (B, 4).
        angle: Rotations in rad, clockwise on the screen, (B, 4).
        background: Parameters in the order of BACKGROUND, (B, 5).
    """

    cls: Tensor
    color: Tensor
    xy: Tensor
    radius: Tensor
    angle: Tensor
    background: Tensor


class Training(NamedTuple):
    """Scenes and the token ids (B, MAX_WORDS) of a sentence that describes each."""

    scenes: Scenes
    tokens: Tensor


class Demand(NamedTuple):
    """What prompts fix: classes and colours (-1 = absent or free) (B, 4), and relation (B,)."""

    cls: Tensor
    color: Tensor
    relation: Tensor


def _in_sentence_order(prompt: Prompt) -> tuple[tuple[Clause, ...], int]:
    """Return the clauses in the order of the sentence, and the relation's index or -1."""
    position = prompt.include[-1].position
    if position is None:
        return prompt.include, -1
    return prompt.include[::-1], RELATIONS.index(position[0])


def demand(prompts: Sequence[Prompt]) -> Demand:
    """Tabulate what prompts fix, one row each."""
    cls = torch.full((len(prompts), MAX_OBJECTS), -1, dtype=torch.long)
    color = torch.full_like(cls, -1)
    relation = torch.full((len(prompts),), -1, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        clauses, relation[row] = _in_sentence_order(prompt)
        slot = 0
        for clause in clauses:
            end = slot + clause.count
            cls[row, slot:end] = SHAPES.index(clause.name)
            if clause.color is not None:
                color[row, slot:end] = COLORS.index(clause.color)
            slot = end
    return Demand(cls=cls, color=color, relation=relation)


def _complete(fixed: Demand, generator: Generator) -> Scenes:
    """Draw everything that is not fixed."""
    device = fixed.cls.device
    present = fixed.cls >= 0
    layout = sample_layouts(present.sum(1), fixed.relation, generator)
    free = torch.randint(len(COLORS), fixed.cls.shape, generator=generator, device=device)
    color = torch.where(fixed.color >= 0, fixed.color, free)
    turn = torch.rand(fixed.cls.shape, generator=generator, device=device)
    bounds = torch.tensor(list(BACKGROUND.values()), device=device)
    u = torch.rand((len(fixed.cls), len(BACKGROUND)), generator=generator, device=device)
    return Scenes(
        cls=fixed.cls,
        color=torch.where(present, color, -1),
        xy=layout.xy,
        radius=layout.radius,
        angle=(2 * turn - 1) * MAX_ANGLE * present,
        background=bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * u,
    )


def sample_scenes(
    prompts: Sequence[Prompt], generator: Generator, device: torch.device | str = "cpu"
) -> Scenes:
    """Draw one scene for each prompt from the world's law.

    Args:
        prompts: Prompts; repeat one for several scenes of it.
        generator: Source of all randomness, on ``device``.
        device: Where the scenes are made.
    """
    fixed = demand(prompts)
    return _complete(Demand(*(tensor.to(device) for tensor in fixed)), generator)


class _Grammar(NamedTuple):
    """Every prompt of the grammar: what it fixes, its tokens, and where each task begins."""

    fixed: Demand
    tokens: Tensor
    start: Tensor
    size: Tensor


@functools.cache
def _grammar(device: torch.device) -> _Grammar:
    groups = [all_prompts(task) for task in TASKS]
    prompts = [prompt for group in groups for prompt in group]
    size = torch.tensor([len(group) for group in groups])
    return _Grammar(
        fixed=Demand(*(tensor.to(device) for tensor in demand(prompts))),
        tokens=encode([prompt.text for prompt in prompts]).to(device),
        start=(size.cumsum(0) - size).to(device),
        size=size.to(device),
    )


def sample_training(n: int, generator: Generator, device: torch.device | str = "cpu") -> Training:
    """Draw training pairs: tasks with equal mass, prompts uniform within a task, then scenes.

    Args:
        n: How many.
        generator: Source of all randomness, on ``device``.
        device: Where everything is made.
    """
    device = torch.device(device)
    grammar = _grammar(device)
    task = torch.randint(len(TASKS), (n,), generator=generator, device=device)
    u = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
    within = (u * grammar.size[task]).long()
    index = grammar.start[task] + within
    fixed = Demand(*(table[index] for table in grammar.fixed))
    return Training(scenes=_complete(fixed, generator), tokens=grammar.tokens[index])
