"""The trainings of a study: one recipe each, made from its file, and what the search chose."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from rcm_bench.method_study.study import Study
from rcm_distill.train.compute import Cost, cost_of
from rcm_distill.train.recipe import build, load_recipe


class Training(NamedTuple):
    """One training of a study.

    Attributes:
        name: Name of its recipe and folder, such as ``rcm-seed11`` or ``rcm-trial3``.
        method: Name of the method, or of the point of the sweep.
        stage: Whether it belongs to the search or to what is measured.
        settings: What differs from the method's fixed hyperparameters, by dotted key.
        seed: Training seed.
    """

    name: str
    method: str
    stage: Literal["search", "final"]
    settings: Mapping[str, Any]
    seed: int


def search(study: Study) -> list[Training]:
    """Return the trials of all methods, interleaved: an early end leaves all equally far."""
    trials = {name: study.method(name).settings() for name in study.methods}
    return [
        Training(f"{name}-trial{number}", name, "search", trials[name][number], study.search_seed)
        for number in range(study.budget.trials)
        for name in study.methods
    ]


def finals(study: Study, chosen: Mapping[str, Mapping[str, Any]]) -> list[Training]:
    """Return what is measured: all methods, the central ones with all seeds, and the sweep.

    Args:
        study: The study.
        chosen: What the search chose for each method, by dotted key.
    """
    found = [
        Training(f"{name}-seed{seed}", name, "final", chosen[name], seed)
        for place, seed in enumerate(study.seeds)
        for name in study.methods
        if name in study.central or place == 0
    ]
    sweep = study.sweep
    for value in sweep.values:
        settings = {**chosen[sweep.method], sweep.key: value}
        name = f"{sweep.method}-{sweep.key.rpartition('.')[2]}-{value:g}".replace("_", "-")
        found.append(Training(name, name, "final", settings, study.seeds[0]))
    return found


def base_method(study: Study, training: Training) -> str:
    """Return the method that a training is of; for the sweep, the swept one."""
    return training.method if training.method in study.methods else study.sweep.method


def cost(study: Study, training: Training) -> Cost:
    """Count what an iteration of a training costs.

    Raises:
        ValueError: A setting of the study is wrong.
    """
    values = _values(study, training)
    module = import_module(f"rcm_distill.objectives.{values['method']}")
    return cost_of(build(module.Objective, values["objective"], f"{training.name}: objective"))


def write_recipe(study: Study, training: Training, folder: Path, snapshot: int | None) -> Path:
    """Write the recipe of a training, checked as any recipe is.

    Args:
        study: The study.
        training: The training.
        folder: Where recipes lie.
        snapshot: Student updates after which a copy is kept, for the comparison at equal updates.

    Raises:
        ValueError: A setting of the study is wrong.
    """
    budget, final = study.budget, training.stage == "final"
    compute = budget.final if final else budget.search
    iterations = cost(study, training).iterations(compute)
    values = {
        **_values(study, training),
        "steps": iterations,
        # Of a trial the end counts alone.
        "validate_every": max(1, iterations // study.validations) if final else 0,
        "save_seconds": 60.0,
        "snapshots": [] if snapshot is None else [snapshot],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{training.name}.yaml"
    text = yaml.safe_dump(values, sort_keys=False)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    load_recipe(path)
    return path


def equal_updates(study: Study, trainings: list[Training]) -> int:
    """Return the student updates that every final training of a method reaches."""
    return min(_updates(study, training) for training in trainings)


def copied_at(study: Study, training: Training, snapshot: int | None) -> int | None:
    """Return after which update a copy is kept; None where the training ends with it.

    Args:
        study: The study.
        training: A final training.
        snapshot: The updates that every training reaches.
    """
    return None if _updates(study, training) == snapshot else snapshot


def _updates(study: Study, training: Training) -> int:
    found = cost(study, training)
    return int(found.iterations(study.budget.final) * found.updates)


def _values(study: Study, training: Training) -> dict[str, Any]:
    name = base_method(study, training)
    values: dict[str, Any] = json.loads(
        json.dumps(
            {
                "recipe": training.name,
                "about": f"{training.stage} of the study {study.study}: {study.about}",
                "method": name,
                "teacher": study.teacher,
                "network": dict(study.network),
                "objective": dict(study.method(name).objective),
                "data": asdict(study.data),
                "student": asdict(study.student),
                "critic": asdict(study.critic),
                "batch_size": study.budget.batch_size,
                "ema": list(study.ema),
                "seed": training.seed,
                "precision": study.precision,
            }
        )
    )
    for key, value in training.settings.items():
        part, _, last = key.rpartition(".")
        values[part][last] = value
    return values
