"""The laboratory's real runs as a law to draw from: prompt sums of one run, kept in a small table.

``python -m rcm_bench.statistics_coverage --from RUN`` writes the table again from a run of
``suites/lab.yaml`` (616 prompts, 4 seeds each).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rcm_bench.benchmarks import detail, diversity, geneval
from rcm_bench.benchmarks.diversity import ATTRIBUTES
from rcm_bench.geneval_rules import TASKS
from rcm_bench.statistics import Clusters, Kind

Floats = NDArray[np.float64]
Cell = tuple[str, int]
TEACHER: Cell = ("teacher", 16)
CELLS: tuple[Cell, ...] = (TEACHER, ("rcm", 1), ("rcm", 2), ("rcm", 4), ("scm", 1), ("dmd2", 4))
KEYS = ["model", "steps", "prompt_id"]
SEEDS = 4
SUMS = ("correct", "psnr", "image", "rendered", *ATTRIBUTES, *(f"{a}_of" for a in ATTRIBUTES))


def _column(rows: pd.DataFrame, name: str, column: str) -> pd.Series:
    return rows.set_index(KEYS)[column].rename(name)


def prompt_sums(samples: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Sum a run's scores by prompt, one row for each model, number of steps and prompt.

    Args:
        samples: The samples table of a run of the laboratory.
        scores: Its scores.
    """
    right = geneval.Benchmark().measure(samples, scores)["overall"].rows
    fine = detail.Benchmark().measure(samples, scores)
    columns = [
        _column(right, "task", "stratum"),
        _column(right, "correct", "numerator"),
        _column(fine["psnr"].rows, "psnr", "numerator"),
        _column(fine["sharpness"].rows, "image", "numerator"),
        _column(fine["sharpness"].rows, "rendered", "denominator"),
    ]
    spread = diversity.Benchmark().measure(samples, scores)
    for name in ATTRIBUTES:
        columns += [
            _column(spread[name].rows, name, "numerator"),
            _column(spread[name].rows, f"{name}_of", "denominator"),
        ]
    table = pd.concat(columns, axis=1).fillna(0.0).reset_index().sort_values(KEYS)
    return table[[(m, s) in CELLS for m, s in zip(table["model"], table["steps"], strict=True)]]


def write(table: pd.DataFrame, path: Path) -> None:
    """Write prompt sums with five digits."""
    table.to_csv(path, index=False, float_format="%.5g", lineterminator="\n")


class Law(NamedTuple):
    """Prompt sums of each cell, in one order of prompts.

    Attributes:
        tasks: (n,) task of each prompt.
        sums: By cell, column and then (n,).
    """

    tasks: NDArray[np.str_]
    sums: Mapping[Cell, Mapping[str, Floats]]


def load(path: Path) -> Law:
    """Read the table."""
    table = pd.read_csv(path).sort_values("prompt_id")
    sums = {}
    for model, steps in CELLS:
        own = table[(table["model"] == model) & (table["steps"] == steps)]
        sums[model, steps] = {name: own[name].to_numpy(np.float64) for name in SUMS}
    tasks = own["task"].to_numpy(str)
    return Law(tasks=tasks, sums=sums)


class Estimated(NamedTuple):
    """What the laboratory says of two cells, by task in the order of `TASKS`."""

    shares: tuple[float, ...]
    reference: tuple[float, ...]
    icc: tuple[float, ...]
    correlation: float


def _share(counts: Floats) -> float:
    """Return the accuracy, Jeffreys's estimate: none is exactly 1 because 32 images were right."""
    return (float(counts.sum()) + 0.5) / (SEEDS * len(counts) + 1)


def _between(counts: Floats) -> tuple[float, float]:
    """Return the ANOVA estimate of the variance between prompts, and the intra-prompt correlation.

    Args:
        counts: (n,) right answers out of `SEEDS`.
    """
    means = counts / SEEDS
    inside = float((means * (1 - means)).mean()) * SEEDS / (SEEDS - 1)
    between = float(means.var(ddof=1)) - inside / SEEDS
    total = between + inside
    return between, between / total if total > 0 else 0.0


def estimated(law: Law, student: Cell) -> Estimated:
    """Estimate accuracies, correlations within prompts, and between the prompts of both.

    The correlation of the prompts' own probabilities is the covariance of prompt means, which
    sampling does not bias, over the root of the two variances between prompts, all summed over
    tasks; single tasks have too few failing images to tell.

    Args:
        law: The table.
        student: Which cell; the reference is the teacher.
    """
    shares, reference, icc, moments = [], [], [], np.zeros(3)
    for task in TASKS:
        rows = law.tasks == task
        a, b = (law.sums[cell]["correct"][rows] for cell in (student, TEACHER))
        shares.append(_share(a))
        reference.append(_share(b))
        first, second = _between(a), _between(b)
        icc.append(max(first[1], 0.01))
        moments += [np.cov(a / SEEDS, b / SEEDS)[0, 1], first[0], second[0]]
    correlation = moments[0] / np.sqrt(max(moments[1], 1e-12) * max(moments[2], 1e-12))
    return Estimated(
        shares=tuple(shares),
        reference=tuple(reference),
        icc=tuple(icc),
        correlation=float(np.clip(correlation, 0.0, 0.95)),
    )


METRICS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], Kind]] = {
    "diversity": (ATTRIBUTES, tuple(f"{a}_of" for a in ATTRIBUTES), "mean"),
    "sharpness": (("image",), ("rendered",), "mean"),
    "PSNR": (("psnr",), ("seeds",), "mean"),
}
"""Numerators and denominators of the metrics that are drawn from the table itself."""


def arrays(law: Law, cell: Cell, metric: str) -> tuple[Floats, Floats]:
    """Return numerators and denominators of a metric, (n, C) each."""
    sums = {**law.sums[cell], "seeds": np.full(len(law.tasks), float(SEEDS))}
    tops, bottoms, _ = METRICS[metric]
    return np.stack([sums[t] for t in tops], 1), np.stack([sums[b] for b in bottoms], 1)


def truth(law: Law, cell: Cell, metric: str, prompts: Sequence[int]) -> float:
    """Return V of endlessly many prompts drawn from the table, so many of each task."""
    top, bottom = arrays(law, cell, metric)
    weight = np.zeros(len(law.tasks))
    for task, number in zip(TASKS, prompts, strict=True):
        rows = law.tasks == task
        weight[rows] = number / rows.sum()
    return float(((weight @ top) / (weight @ bottom)).mean())


def draw(
    law: Law, metric: str, cells: Sequence[Cell], prompts: Sequence[int], rng: np.random.Generator
) -> list[Clusters]:
    """Draw prompts of each task with replacement; every cell gets the same ones."""
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(law.tasks == task), number)
            for task, number in zip(TASKS, prompts, strict=True)
        ]
    )
    strata = np.repeat(np.arange(len(TASKS)), prompts)
    found = []
    for cell in cells:
        top, bottom = arrays(law, cell, metric)
        found.append(Clusters(numerator=top[rows], denominator=bottom[rows], strata=strata))
    return found
