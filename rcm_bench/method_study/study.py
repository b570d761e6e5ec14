"""A study's file: methods, search spaces, budgets and rules, fixed before the first training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from rcm_bench.canonical import text_digest
from rcm_distill.train.recipe import Data, Optimizer, build, methods, read_values


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What every method may spend.

    Attributes:
        search: Compute of one trial of the search, in passes of the network over a batch.
        final: Compute of a final training.
        trials: Trials of each method; its space is a grid of as many points.
        batch_size: Scenes in a batch.
    """

    search: int
    final: int
    trials: int
    batch_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """When a method counts as converged: by the line through the end of its validation curve.

    Attributes:
        window: Share of the training that is looked at, from the end.
        gain: Largest rise or fall of the line over that share.
        points: Fewest validations that must lie in it.
        least: Least mean accuracy over it: a flat line at nothing is no convergence.
    """

    window: float
    gain: float
    points: int
    least: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """Fixed hyperparameters of a method, and the axes of its search space."""

    objective: Mapping[str, Any]
    space: Mapping[str, Any]

    def settings(self) -> list[dict[str, Any]]:
        """Return every point of the grid as values by dotted key."""
        return [
            dict(zip(self.space, point, strict=True)) for point in product(*self.space.values())
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """One key of one method at several values, beside what the search chose."""

    method: str
    key: str
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """How the students are measured: the suite's prompts and steps."""

    steps: tuple[int, ...]
    teacher_steps: int
    per_task: int
    prompt_seed: int
    samples_per_prompt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Everything that decides a study.

    Attributes:
        study: Name.
        about: What it asks.
        teacher: Id or path of the teacher's weights.
        budget: What every method may spend.
        converged: When a method is ranked.
        central: Methods with all training seeds; the others have the first.
        seeds: Training seeds.
        search_seed: The training seed of the search.
        validations: Validations in each training.
        data: The training scenes.
        ema: Lengths of the averages.
        student: Optimiser, where the space says nothing else.
        critic: The same of critics.
        methods: By file stem in ``rcm_distill.objectives``.
        sweep: The sweep.
        measure: The measurement.
        network: What the teacher's architecture must be; for tests.
        precision: As in a recipe.
    """

    study: str
    about: str
    teacher: str
    budget: Budget
    converged: Rule
    central: tuple[str, ...]
    seeds: tuple[int, ...]
    search_seed: int
    validations: int
    data: Data
    ema: tuple[float, ...]
    student: Optimizer
    critic: Optimizer
    methods: Mapping[str, Any]
    sweep: Sweep
    measure: Measure
    network: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "bf16"

    def method(self, name: str) -> Method:
        """Return one method."""
        found: Method = build(Method, self.methods[name], f"methods.{name}")
        return found


STUDY = "study.sha256"
"""In the folder of a study: which study its trainings belong to."""


def bind(study: Study, out: Path) -> None:
    """Tie a folder to a study: what is fixed before the first training stays so.

    Raises:
        ValueError: The folder holds trainings of a study with other values.
    """
    text = json.dumps(asdict(study), sort_keys=True)
    check_digest(text_digest(text), out)


def check_digest(digest: str, out: Path) -> None:
    """Note in a folder which study it is of, the first time; later refuse another.

    Raises:
        ValueError: It is of another.
    """
    path = out / STUDY
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(digest + "\n", encoding="utf-8")
    elif (found := path.read_text(encoding="utf-8").strip()) != digest:
        raise ValueError(
            f"{out}: holds trainings of another study ({STUDY}: {found[:8]}, this one is "
            f"{digest[:8]}): spaces, budgets and rules are fixed before the first; take another "
            "folder, or change the study's file back"
        )


def load_study(path: Path) -> Study:
    """Read and check a study.

    Raises:
        ValueError: The file is missing, has an unknown key or a wrong value, or its budgets are
            not equal: a space with more or fewer points than there are trials.
    """
    study: Study = build(Study, read_values(path, "study"), str(path))
    for name in study.methods:
        if name not in methods():
            known = ", ".join(methods())
            raise ValueError(f"{path}: methods: unknown method '{name}'. Available: {known}.")
        method: Method = build(Method, study.methods[name], f"{path}: methods.{name}")
        _check_space(method.space, study.budget.trials, f"{path}: methods.{name}: space")
    for name in (*study.central, study.sweep.method):
        if name not in study.methods:
            known = ", ".join(study.methods)
            raise ValueError(f"{path}: '{name}' is not among the methods. Available: {known}.")
    if study.data.num_images is None:
        raise ValueError(
            f"{path}: data: a study renders its scenes, expected num_images, got file: "
            f"{study.data.file}"
        )
    if study.converged.points < 2:
        raise ValueError(f"{path}: converged: points must be at least 2: they carry a line")
    if len(set(study.seeds)) < len(study.seeds) or study.search_seed in study.seeds:
        raise ValueError(f"{path}: seeds must differ from each other and from search_seed")
    return study


def _check_space(space: Mapping[str, Sequence[Any]], trials: int, where: str) -> None:
    for key, values in space.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{where}: {key}: expected a list of values, got {values!r}")
    points = prod(len(values) for values in space.values())
    if points != trials:
        raise ValueError(
            f"{where}: {points} points, expected {trials}: every method is tuned in as many trials"
        )
