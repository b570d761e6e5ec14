"""What a study trains, in which order, and how long it takes; it goes on where it was left."""

import json
from pathlib import Path
from typing import Any

from rcm_bench.diffusion.digests import write_whole
from rcm_bench.method_study.driver import Machine, run_trainings
from rcm_bench.method_study.progress import choose, is_settled, reached, record
from rcm_bench.method_study.study import Study
from rcm_bench.method_study.trainings import (
    Training,
    base_method,
    copied_at,
    cost,
    equal_updates,
    in_order,
    search,
    write_recipe,
)

SECONDS_PER_VALIDATION = 3.0
"""432 images sampled, and read by the oracle on one core (1.8 to 3.1 s, two busy x86 cores)."""
SECONDS_PER_PASS = 0.002
"""A pass over a batch of 256 on one H100: lab-rcm took 801 s for 40,000 iterations of 10 passes."""


def plan(study: Study) -> list[str]:
    """Say what there is to train and about how long it takes, one line each."""
    first = {name: study.method(name).settings()[0] for name in study.methods}
    jobs = in_order(study, first)
    lines, passes = [f"{study.study}: {study.about}"], 0
    for job in jobs:
        budget = study.budget.search if job.stage == "search" else study.budget.final
        found, passes = cost(study, job), passes + budget
        iterations = found.iterations(budget)
        lines.append(
            f"{job.name}: {iterations:,} iterations, {int(iterations * found.updates):,} student "
            f"updates, about {budget * SECONDS_PER_PASS * study.budget.batch_size / 256:.0f} s"
        )
    hours = passes * SECONDS_PER_PASS * study.budget.batch_size / 256 / 3600
    lines.append(
        f"{len(jobs)} trainings, {hours:.1f} hours of one H100 in all (compilation not counted); "
        "what the search has chosen changes iterations and updates, not the compute"
    )
    return lines


def seconds(study: Study, out: Path, training: Training) -> float:
    """Say how long a training takes from its turn to its end.

    The slowest pass that a training of its method had so far counts, and a tenth more; of a
    training that was stopped only what is left.
    """
    budget = study.budget.search if training.stage == "search" else study.budget.final
    slowest = 0.0
    for each in known(study, out):
        if base_method(study, each) == base_method(study, training):
            done = record(out, each)
            if done is not None:
                passes = cost(study, each).passes * done["steps"]
                slowest = max(slowest, done["seconds_alone"] / passes)
    left = budget - cost(study, training).passes * reached(out, training)
    validations = study.validations + 2 if training.stage == "final" else 1
    turn = 1.1 * left * (slowest or SECONDS_PER_PASS * study.budget.batch_size / 256)
    return turn + SECONDS_PER_VALIDATION * validations


def known(study: Study, out: Path) -> list[Training]:
    """Return the trainings that are known so far, what the claims need first in front.

    The finals of a method are known once its own search has ended.
    """
    return in_order(study, chosen_so_far(study, out))


def train(study: Study, out: Path, machine: Machine) -> bool:
    """Search, choose, and train what is measured.

    Args:
        study: The study.
        out: Its folder.
        machine: Where, and for how long.

    Returns:
        Whether all is trained or has diverged.
    """

    def recipe(training: Training) -> Path:
        copy = copied_at(study, training, equal_updates(study))
        return write_recipe(
            study, training, out / "recipes", copy if training.stage == "final" else None
        )

    return run_trainings(lambda: known(study, out), recipe, out, machine)


def is_trained(study: Study, out: Path) -> bool:
    """Return whether all is trained or has diverged."""
    return all(is_settled(out, training) for training in known(study, out))


def final_iterations(study: Study, training: Training) -> int:
    """Return how many iterations a final training has."""
    return cost(study, training).iterations(study.budget.final)


def chosen_so_far(study: Study, out: Path) -> dict[str, dict[str, Any]]:
    """Return what the search chose for each method whose search has ended, written down once."""
    path = out / "chosen.json"
    found: dict[str, dict[str, Any]] = {}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
    trials = search(study)
    before = len(found)
    for name in study.methods:
        own = [trial for trial in trials if trial.method == name]
        if name not in found and all(is_settled(out, trial) for trial in own):
            found[name] = choose(out, own)
    if len(found) > before:
        write_whole(path, (json.dumps(found, indent=1) + "\n").encode())
    return found
