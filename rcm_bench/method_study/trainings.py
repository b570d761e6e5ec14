"""The trainings of a study: one recipe each, made from its file, and what the search chose."""

import json
from collections.abc import Mapping, Sequence
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
    """Return the trials of all methods, the central methods first."""
    return [*_trials(study, _central(study)), *_trials(study, _others(study))]


def finals(study: Study, chosen: Mapping[str, Mapping[str, Any]]) -> list[Training]:
    """Return what is measured: all methods, the central ones with all seeds, and the sweep.

    Args:
        study: The study.
        chosen: What the search chose, by dotted key, for the methods whose search has ended.
    """
    return [training for training in in_order(study, chosen) if training.stage == "final"]


def in_order(study: Study, chosen: Mapping[str, Mapping[str, Any]]) -> list[Training]:
    """Return all trainings that are known so far, first what the claims need first.

    The search of the central methods, their first training seed, their second, the sweep, their
    other seeds; then the other methods. A study that ends early has whole seeds of all three.

    Args:
        study: The study.
        chosen: As in ``finals``.
    """
    central, others, seeds = _central(study), _others(study), study.seeds
    return [
        *_trials(study, central),
        *_seeds(central, seeds[:2], chosen),
        *_sweep(study, chosen),
        *_seeds(central, seeds[2:], chosen),
        *_trials(study, others),
        *_seeds(others, seeds[:1], chosen),
    ]


def _central(study: Study) -> list[str]:
    return [name for name in study.methods if name in study.central]


def _others(study: Study) -> list[str]:
    return [name for name in study.methods if name not in study.central]


def _trials(study: Study, names: Sequence[str]) -> list[Training]:
    return [
        Training(f"{name}-trial{number}", name, "search", settings, study.search_seed)
        for name in names
        for number, settings in enumerate(study.method(name).settings())
    ]


def _seeds(
    names: Sequence[str], seeds: Sequence[int], chosen: Mapping[str, Mapping[str, Any]]
) -> list[Training]:
    return [
        Training(f"{name}-seed{seed}", name, "final", chosen[name], seed)
        for seed in seeds
        for name in names
        if name in chosen
    ]


def _sweep(study: Study, chosen: Mapping[str, Mapping[str, Any]]) -> list[Training]:
    sweep = study.sweep
    if sweep.method not in chosen:
        return []
    found = []
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


def equal_updates(study: Study) -> int:
    """Return the student updates that every final training reaches, whatever the search chooses."""
    fewest = []
    for name in study.methods:
        for settings in study.method(name).settings():
            final = Training(name, name, "final", settings, study.seeds[0])
            swept = _sweep(study, {name: settings})
            fewest += [_updates(study, training) for training in (final, *swept)]
    return min(fewest)


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
