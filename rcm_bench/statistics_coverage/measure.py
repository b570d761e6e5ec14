"""Coverage of one design: how often the interval holds the truth, and how often tests alarm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcm_bench.geneval_rules import TASKS
from rcm_bench.statistics import (
    Clusters,
    cluster_bootstrap,
    estimate,
    mover_difference,
    mover_ratio,
    value_of,
)
from rcm_bench.statistics.intervals import obstacle, raw_estimate
from rcm_bench.statistics.paired import correlated
from rcm_bench.statistics_coverage import laboratory
from rcm_bench.statistics_coverage.designs import Design, arranged, simulate

Floats = NDArray[np.float64]
Interval = tuple[float, float]
NOTHING: Interval = (float("nan"), float("nan"))
SEED = 20_240_503
OURS = "ours"
LOW, HIGH = 0.93, 0.97


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table.

    Args:
        design: What was simulated.
        number: Value, difference, ratio.
        method: Name of the interval, ``OURS`` in front of those that tables print.
        prompts: Prompts in all.
        strata: Tasks or groups.
        truth: True value of the number.
        coverage: Share of intervals that hold it; NaN where the table says "no interval".
        mean_width: Mean width.
        telling: Mean number of prompts whose samples are not all at the same end, of the model
            that has fewer; NaN for means.
        step: Probability of the single outcome at the 2.5 or 97.5 % point of the number's own
            distribution, the larger: by so much coverage jumps when the truth moves past it.
        runs: Simulated runs.
    """

    design: str
    number: str
    method: str
    prompts: int
    strata: int
    truth: float
    coverage: float
    mean_width: float
    telling: float = float("nan")
    step: float = 0.0
    runs: int

    @property
    def ours(self) -> bool:
        """Whether tables print this interval."""
        return self.method.startswith(OURS)


class Draws(NamedTuple):
    """How many simulated runs, and where their randomness comes from."""

    runs: int
    rng: np.random.Generator


def step_of(values: Sequence[float]) -> float:
    """Return the probability of the outcome at either end of the middle 95 %, the larger."""
    outcomes, counts = np.unique(np.round(values, 9), return_counts=True)
    if len(outcomes) > len(values) / 4:
        return 0.0
    below = np.cumsum(counts) / counts.sum()
    ends = [int(np.searchsorted(below, q)) for q in (0.025, 0.975)]
    return float(max(counts[end] for end in ends) / counts.sum())


def covered(intervals: Sequence[Interval], truth: float) -> tuple[float, float]:
    """Return coverage and mean width; NaN where there is no interval."""
    ends = np.array(intervals)
    if np.isnan(ends).any():
        return float("nan"), float("nan")
    inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    return float(inside.mean()), float((ends[:, 1] - ends[:, 0]).mean())


def measured(
    what: tuple[str, str, str],
    sizes: Sequence[int],
    intervals: Sequence[Interval],
    truth: float,
    **more: float,
) -> Row:
    """Make a row of the intervals of all simulated runs.

    Args:
        what: Design, number and method.
        sizes: Prompts in each stratum.
        intervals: One for each run.
        truth: True value of the number.
        more: ``telling`` and ``step``, where the number has them.
    """
    design, number, method = what
    coverage, width = covered(intervals, truth)
    return Row(
        design=design,
        number=number,
        method=method,
        prompts=sum(sizes),
        strata=len(sizes),
        truth=truth,
        coverage=coverage,
        mean_width=width,
        runs=len(intervals),
        **more,
    )


def _telling(counts: NDArray[np.int64], full: int) -> float:
    """Return the mean number of telling prompts of the model that has fewer; (runs, models, n)."""
    each = np.minimum((counts < full).sum(-1), (counts > 0).sum(-1)).mean(0)
    return float(each.min())


def _ours(clusters: Clusters) -> Interval:
    found = estimate(clusters, kind="proportion")
    return found.low, found.high


def _plain(clusters: Clusters) -> Interval:
    found = raw_estimate(clusters, "mean", "new prompts")
    return found.low, found.high


def _naive(clusters: Clusters) -> Interval:
    """Take every image for independent."""
    totals = clusters.denominator.sum(0)
    shares = clusters.numerator.sum(0) / totals
    half = 1.96 * float(np.sqrt((shares * (1 - shares) / totals).sum())) / len(shares)
    return value_of(clusters) - half, value_of(clusters) + half


METHODS: dict[str, Callable[[Clusters], Interval]] = {
    f"{OURS}: Wilson, clustered": _ours,
    "Student t, clustered": _plain,
    "binomial, images independent": _naive,
}


def single_rows(design: Design, runs: int, rng: np.random.Generator) -> list[Row]:
    """Measure the coverage of an accuracy's interval under each method."""
    counts, strata = simulate(design, runs, rng, models=1)
    drawn = [arranged(count[0], strata) for count in counts]
    truth = design.truths()[0]
    step = step_of([value_of(c) for c in drawn])
    telling = _telling(counts, 4)
    rows = []
    for name, method in METHODS.items():
        what, intervals = (design.name, "accuracy", name), [method(c) for c in drawn]
        rows.append(measured(what, design.prompts, intervals, truth, telling=telling, step=step))
    return rows


def paired_rows(
    design: Design, runs: int, rng: np.random.Generator, *, bootstrap: bool = False
) -> list[Row]:
    """Measure the coverage of difference and ratio; with ``bootstrap`` beside the percentile's."""
    counts, strata = simulate(design, runs, rng)
    found: dict[tuple[str, str], list[Interval]] = {}
    differences, ratios = [], []
    for student, reference in ((arranged(a, strata), arranged(b, strata)) for a, b in counts):
        first, second, rho = correlated(student, reference, "proportion", "new prompts")
        differences.append(first.value - second.value)
        ratios.append(first.value / second.value if second.value > 0 else np.inf)
        refused = obstacle(student, "new prompts") is not None
        found.setdefault(("difference", f"{OURS}: MOVER"), []).append(
            NOTHING if refused else mover_difference(first, second, rho)
        )
        found.setdefault(("ratio", f"{OURS}: MOVER"), []).append(
            NOTHING if refused else mover_ratio(first, second, rho)
        )
        if bootstrap:
            draws = cluster_bootstrap([student, reference], num_replicates=400)
            low, high = np.quantile(draws[0] - draws[1], [0.025, 0.975])
            found.setdefault(("difference", "cluster bootstrap, percentile"), []).append(
                (float(low), float(high))
            )
    top, bottom = design.truths()
    truths = {"difference": (top - bottom, differences), "ratio": (top / bottom, ratios)}
    telling = _telling(counts, 4)
    rows = []
    for (number, method), intervals in found.items():
        truth, values = truths[number]
        what, step = (design.name, number, method), step_of(values)
        rows.append(measured(what, design.prompts, intervals, truth, telling=telling, step=step))
    return rows


def resampled_rows(
    law: laboratory.Law, metric: str, cell: laboratory.Cell, per_task: int, draws: Draws
) -> list[Row]:
    """Measure the coverage of a mean or ratio of sums on prompts drawn from a real run.

    Args:
        law: Prompt sums of the run.
        metric: Name of the metric.
        cell: The student; the teacher is its reference.
        per_task: Prompts drawn of each task.
        draws: Number of simulated runs and source of randomness.
    """
    prompts = (per_task,) * len(TASKS)
    cells = (cell, laboratory.TEACHER)
    true = [laboratory.truth(law, one, metric, prompts) for one in cells]
    found: dict[tuple[str, str], list[Interval]] = {}
    for _ in range(draws.runs):
        student, reference = laboratory.draw(law, metric, cells, prompts, draws.rng)
        single = estimate(student)
        first, second, rho = correlated(student, reference, "mean", "new prompts")
        values = {
            ("value", f"{OURS}: Student t"): (single.low, single.high),
            ("difference", f"{OURS}: MOVER"): mover_difference(first, second, rho),
            ("ratio", f"{OURS}: MOVER"): mover_ratio(first, second, rho),
        }
        for key, ends in values.items():
            found.setdefault(key, []).append(ends)
    truths = {"value": true[0], "difference": true[0] - true[1], "ratio": true[0] / true[1]}
    if metric == "PSNR":
        del found["ratio", f"{OURS}: MOVER"]
    name = f"{metric} of {cell[0]} at {cell[1]}, prompts drawn from the laboratory"
    return [
        measured((name, number, method), prompts, intervals, truths[number])
        for (number, method), intervals in found.items()
    ]
