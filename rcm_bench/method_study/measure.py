"""The measurement of a study: one suite of all students, and its sums per prompt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rcm_bench.method_study.progress import weights_of
from rcm_bench.method_study.study import Study
from rcm_bench.method_study.trainings import Training, copied_at
from rcm_bench.statistics import Clusters

METRICS = (
    *("geneval.overall", "diversity.overall", "diversity.color", "diversity.place"),
    *("diversity.size", "diversity.background", "detail.psnr", "detail.sharpness"),
)
TEACHER = "teacher"
EQUAL_UPDATES = "-equal-updates"
"""Ends the name of a training's copy at equal student updates."""


Measured = Mapping[tuple[str, str, int], Clusters]
"""Sums per prompt by metric, model and number of steps; the prompts of a metric are the same."""


def suite(study: Study, out: Path, trainings: Sequence[Training], snapshot: int) -> dict[str, Any]:
    """Return the suite that measures trainings and their copies at equal updates.

    All students are sampled by one sampler, MeanFlow's too: its network asked for the image is a
    consistency function.

    Args:
        study: The study.
        out: Its folder.
        trainings: The trainings to measure.
        snapshot: Student updates of the copies.

    Raises:
        ValueError: Weights are missing; names all, and the folders to delete.
    """
    models: dict[str, dict[str, object]] = {
        TEACHER: {
            "kind": "lab",
            "role": "teacher",
            "weights": study.teacher,
            "sampler": "flow",
            "steps": [study.measure.teacher_steps],
        }
    }
    lost: dict[str, Path] = {}
    for training in trainings:
        for tail, copy in (("", None), (EQUAL_UPDATES, copied_at(study, training, snapshot))):
            weights = weights_of(out, training, copy)
            if not weights.exists():
                lost.setdefault(training.name, weights)
            models[training.name + tail] = {
                "kind": "lab",
                "weights": str(weights.resolve()),
                "sampler": "few-step",
            }
    if lost:
        raise ValueError("\n".join(map(_said_of_lost, lost.values())))
    measure = study.measure
    return {
        "suite": f"{study.study}-measured",
        "version": 1,
        "about": study.about,
        "models": models,
        "samplers": {
            "flow": {"kind": "euler", "guidance": 4.0, "shift": 3.0},
            "few-step": {"kind": "consistency", "sigma_max": 1600.0, "preset": "paper"},
        },
        "steps": list(measure.steps),
        "prompts": {
            "set": "lab",
            "per_task": measure.per_task,
            "seed": measure.prompt_seed,
            "samples_per_prompt": measure.samples_per_prompt,
        },
        "benchmarks": {"geneval": {}, "diversity": {}, "detail": {}},
        "protocol": {"name": "lab"},
        "run": {"batch_size": 200, "failures": "exclude_and_flag", "retries": 1},
    }


def _said_of_lost(weights: Path) -> str:
    own = weights.parent
    return (
        f"{weights}: missing, but {own.name} is done and not measured: take the parcel that has it "
        f"again, or delete the folder {own} and the folder {own.parent.name}/{own.name} of the "
        "light copy, and it is trained again"
    )


def protocol(suite: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a suite is the same for all that is measured, the teacher with it."""
    students = ("models", "reuse", "about")
    same = {key: value for key, value in suite.items() if key not in students}
    return same | {TEACHER: suite["models"][TEACHER]}


def write(suite: Mapping[str, Any], path: Path) -> Path:
    """Write a suite and return its path."""
    path.write_text(yaml.safe_dump(dict(suite), sort_keys=False), encoding="utf-8")
    return path


def read_run(run: Path) -> Measured:
    """Read the sums per prompt of a run.

    Args:
        run: Folder of the run.
    """
    from rcm_bench.finish import open_run
    from rcm_bench.measured import cells
    from rcm_bench.tables import run_tables

    opened = open_run(run)
    tables = run_tables(opened.plan, opened.store.index(), opened.benchmarks)
    samples = tables.samples.assign(is_reference=tables.samples["model"] == TEACHER)
    found: dict[tuple[str, str, int], Clusters] = {}
    for benchmark in opened.benchmarks:
        measures: Any = benchmark
        for name, measured in measures.measure(samples, tables.scores).items():
            metric = f"{benchmark.name}.{name}"
            if metric in METRICS:
                for (model, _, steps), cell in cells(measured).items():
                    found[metric, model, steps] = cell.clusters
    return found


def shared(tables: Sequence[Clusters]) -> tuple[list[Clusters], int]:
    """Keep the prompts, and of each prompt the components, that all compared have something of.

    Args:
        tables: Sums of the same prompts in the same order.

    Returns:
        The tables, and how many prompts were dropped.
    """
    there = np.logical_and.reduce([table.denominator > 0 for table in tables])
    concerned = np.logical_or.reduce([table.denominator > 0 for table in tables])
    rows = there.any(1)
    kept = [
        Clusters(
            numerator=np.where(there, table.numerator, 0.0),
            denominator=np.where(there, table.denominator, 0.0),
            strata=table.strata,
        ).take(rows)
        for table in tables
    ]
    return kept, int((concerned & ~there).any(1).sum())
