"""All designs of the committed table, each with a seed of its own, worked off by two processes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rcm_bench.statistics_coverage import laboratory, vbench
from rcm_bench.statistics_coverage.alarms import Alarm, simulated
from rcm_bench.statistics_coverage.designs import (
    ASSUMED_CORRELATION,
    ASSUMED_ICC,
    GENEVAL_PROMPTS,
    PUBLISHED,
    Design,
    geneval,
    single_task,
)
from rcm_bench.statistics_coverage.measure import (
    SEED,
    Draws,
    Row,
    paired_rows,
    resampled_rows,
    single_rows,
)

PER_TASK = (4, 5, 7, 10)
"""Prompts of each of six tasks, 24 to 60 in all; the quickstart has 10."""
UNEVEN = (4, 4, 3, 3, 3, 3)
"""20 prompts, the fewest that get an interval."""
Job = Callable[[np.random.Generator], list[Row | Alarm]]


class Runs(NamedTuple):
    """Simulated runs of each kind of design."""

    proportions: int = 2000
    resampled: int = 2000
    vbench: int = 700
    alarms: int = 1000


def quickstart(name: str, found: laboratory.Estimated) -> Iterator[Design]:
    """Yield the quickstart's sizes with accuracies and correlations from somewhere."""
    for prompts in (UNEVEN, *((number,) * 6 for number in PER_TASK)):
        yield Design(
            name=f"quickstart, {name}",
            shares=found.shares,
            reference=found.reference,
            prompts=prompts,
            icc=found.icc,
            correlation=found.correlation,
        )


def proportions(law: laboratory.Law) -> Iterator[Design]:
    """Yield every design of right and wrong images."""
    real = {cell: laboratory.estimated(law, cell) for cell in laboratory.CELLS[1:]}
    usual = real["rcm", 4]
    pooled = float(np.mean([np.mean(found.icc) for found in real.values()]))
    yield from geneval((ASSUMED_ICC,) * 6, ASSUMED_CORRELATION, "correlations assumed")
    yield from geneval(usual.icc, usual.correlation, "the laboratory's correlations")
    yield from single_task(ASSUMED_ICC, ASSUMED_CORRELATION, "correlations assumed")
    yield from single_task(pooled, usual.correlation, "the laboratory's correlations")
    assumed = laboratory.Estimated(
        shares=PUBLISHED["rCM 2B, 4 steps"],
        reference=PUBLISHED["Cosmos 2B"],
        icc=(ASSUMED_ICC,) * 6,
        correlation=ASSUMED_CORRELATION,
    )
    yield from quickstart("rCM 2B against Cosmos 2B, correlations assumed", assumed)
    for (model, steps), found in real.items():
        yield from quickstart(f"the laboratory's {model} at {steps} against its teacher", found)


def _proportion(design: Design, runs: int, rng: np.random.Generator) -> list[Row | Alarm]:
    beside = len(design.prompts) > 1 and sum(design.prompts) in (60, sum(GENEVAL_PROMPTS))
    return [
        *single_rows(design, runs, rng),
        *paired_rows(design, runs, rng, bootstrap=beside),
    ]


def _resampled(
    law: laboratory.Law,
    metric: str,
    cell: laboratory.Cell,
    per_task: int,
    runs: int,
    rng: np.random.Generator,
) -> list[Row | Alarm]:
    return [*resampled_rows(law, metric, cell, per_task, Draws(runs, rng))]


def _vbench(
    label: str, means: tuple[float, ...], runs: int, rng: np.random.Generator
) -> list[Row | Alarm]:
    return [*vbench.rows(label, means, runs, rng)]


def _alarms(design: Design, runs: int, parts: bool, rng: np.random.Generator) -> list[Row | Alarm]:
    return [*simulated(design, runs, rng, parts)]


def same(name: str, shares: Sequence[float], icc: Sequence[float], prompts: int) -> Design:
    """Return a design in which the teacher meets itself."""
    return Design(
        name=name,
        shares=tuple(shares),
        reference=tuple(shares),
        prompts=(prompts,) * 6 if prompts else GENEVAL_PROMPTS,
        icc=tuple(icc),
    )


def jobs(law: laboratory.Law, runs: Runs) -> list[Job]:
    """Return everything that is to be simulated."""
    usual = laboratory.estimated(law, ("rcm", 4))
    found: list[Job] = [
        partial(_proportion, design, runs.proportions) for design in proportions(law)
    ]
    for metric in laboratory.METRICS:
        for cell in laboratory.CELLS[1:]:
            for per_task in (4, 10, 40):
                found.append(partial(_resampled, law, metric, cell, per_task, runs.resampled))
    found.append(partial(_vbench, "student against teacher", vbench.STUDENT, runs.vbench))
    found.append(partial(_vbench, "teacher against itself", vbench.TEACHER, runs.vbench))
    for shares, icc, label in (
        (PUBLISHED["Cosmos 2B"], (ASSUMED_ICC,) * 6, "Cosmos 2B, correlations assumed"),
        (usual.reference, usual.icc, "the laboratory's teacher"),
        (usual.shares, usual.icc, "the laboratory's rcm at 4"),
    ):
        for per_task in (10, 40):
            design = same(f"6 x {per_task} prompts, {label}", shares, icc, per_task)
            found.append(partial(_alarms, design, runs.alarms, True))
    design = same("GenEval, Cosmos 2B", PUBLISHED["Cosmos 2B"], (ASSUMED_ICC,) * 6, 0)
    found.append(partial(_alarms, design, runs.alarms // 4, False))
    return found


def _work(task: tuple[int, Job]) -> list[Row | Alarm]:
    number, job = task
    return job(np.random.default_rng([SEED, number]))


def simulate_all(
    law_file: Path, runs: Runs, *, processes: int = 2
) -> tuple[list[Row], list[Alarm]]:
    """Simulate every design.

    Args:
        law_file: The laboratory's prompt sums.
        runs: How often.
        processes: How many at a time; the numbers do not depend on it.
    """
    work = list(enumerate(jobs(laboratory.load(law_file), runs)))
    with ProcessPoolExecutor(processes) as pool:
        found = [row for rows in pool.map(_work, work) for row in rows]
    return (
        [row for row in found if isinstance(row, Row)],
        [row for row in found if isinstance(row, Alarm)],
    )
