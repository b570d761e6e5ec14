"""What do the intervals cover? Simulated designs like GenEval's, and the table in the gallery.

``python -m rcm_bench.statistics_coverage [OUT]`` writes ``coverage.csv`` and ``README.md``
(default: reports/gallery/coverage). Prompts have their own probabilities, beta distributed with
the intra-prompt correlation given; a student's and its reference's are joined by a Gaussian copula.
"""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rcm_bench.statistics import Clusters, cluster_bootstrap, compare, estimate, value_of
from rcm_bench.statistics.intervals import raw_estimate

SEED = 20_240_503
SEEDS_PER_PROMPT = 4
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99)
PAIRS = ((0.5, 0.9), (0.8, 0.95), (0.9, 0.95), (0.95, 0.95), (0.97, 0.97), (0.99, 0.99))
MIXED = (0.99, 0.95, 0.7, 0.95, 0.6, 0.7)
"""Accuracies of six tasks as published models have them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """A simulated benchmark.

    Args:
        shares: True accuracy of each task.
        prompts: Prompts of each task.
        icc: Correlation of two images of one prompt.
        reference: The reference's true accuracies; None where nothing is compared.
        correlation: Of the student's and the reference's prompt probabilities, before the copula.
    """

    shares: tuple[float, ...]
    prompts: int
    icc: float = 0.6
    reference: tuple[float, ...] | None = None
    correlation: float = 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table; ``seed`` and ``runs`` say how sure it is."""

    number: str
    method: str
    tasks: int
    prompts_per_task: int
    icc: float
    truth: float
    reference: float | None
    coverage: float
    mean_width: float
    runs: int
    seed: int


def _clusters(counts: NDArray[np.int64]) -> Clusters:
    """Arrange right answers (tasks, prompts) as sums per prompt."""
    tasks, prompts = counts.shape
    strata = np.repeat(np.arange(tasks), prompts)
    own = strata[:, None] == np.arange(tasks)
    return Clusters(
        numerator=own * counts.reshape(-1, 1).astype(np.float64),
        denominator=own * float(SEEDS_PER_PROMPT),
        strata=strata,
    )


def simulate(
    design: Design, runs: int, rng: np.random.Generator
) -> Iterator[tuple[Clusters, Clusters]]:
    """Yield simulated runs: the student's sums and the reference's (its own law if none given)."""
    precision = 1 / design.icc - 1
    covariance = [[1.0, design.correlation], [design.correlation, 1.0]]
    laws = np.array([design.shares, design.reference or design.shares])
    # Quantiles are the slow part: drawn for many runs at once.
    for _ in range(0, runs, 100):
        shape = (100, len(design.shares), design.prompts)
        uniform = stats.norm.cdf(rng.multivariate_normal(np.zeros(2), covariance, shape))
        uniform = np.moveaxis(uniform, -1, 1)
        means = laws[None, :, :, None]
        chance = stats.beta.ppf(uniform, means * precision, (1 - means) * precision)
        for counts in rng.binomial(SEEDS_PER_PROMPT, chance):
            yield _clusters(counts[0]), _clusters(counts[1])


Interval = tuple[float, float]


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
    "Wilson, clustered (ours)": _ours,
    "Student t, clustered": _plain,
    "binomial, images independent": _naive,
}


def _row(
    design: Design, number: str, method: str, intervals: Sequence[Interval], truth: float
) -> Row:
    ends = np.array(intervals)
    reference = None if design.reference is None else float(np.mean(design.reference))
    return Row(
        number=number,
        method=method,
        tasks=len(design.shares),
        prompts_per_task=design.prompts,
        icc=design.icc,
        truth=round(float(np.mean(design.shares)), 4),
        reference=reference,
        coverage=round(float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()), 4),
        mean_width=round(float((ends[:, 1] - ends[:, 0]).mean()), 4),
        runs=len(ends),
        seed=SEED,
    )


def single_rows(design: Design, runs: int, rng: np.random.Generator) -> list[Row]:
    """Measure the coverage of one number's interval under each method."""
    drawn = [student for student, _ in simulate(design, runs, rng)]
    truth = float(np.mean(design.shares))
    return [
        _row(design, "value", name, [method(c) for c in drawn], truth)
        for name, method in METHODS.items()
    ]


def paired_rows(design: Design, runs: int, rng: np.random.Generator) -> list[Row]:
    """Measure the coverage of differences and ratios, and of ``p > 0.05`` where they are equal.

    The line "sign flip" counts how often the test does not reject; without a true difference that
    is 1 minus its false alarms.
    """
    assert design.reference is not None
    top, bottom = float(np.mean(design.shares)), float(np.mean(design.reference))
    found: dict[str, list[Interval]] = {}
    for student, reference in simulate(design, runs, rng):
        ours = compare(student, reference, kind="proportion")
        draws = cluster_bootstrap([student, reference], num_replicates=400)
        low, high = np.quantile(draws[0] - draws[1], [0.025, 0.975])
        found.setdefault("difference", []).append((ours.difference_low, ours.difference_high))
        found.setdefault("ratio", []).append((ours.ratio_low, ours.ratio_high))
        found.setdefault("bootstrap", []).append((float(low), float(high)))
        found.setdefault("p", []).append((-1.0, 1.0) if ours.p > 0.05 else (2.0, 2.0))
    rows = [
        _row(design, "difference", "MOVER (ours)", found["difference"], top - bottom),
        _row(design, "ratio", "MOVER (ours)", found["ratio"], top / bottom),
        _row(
            design, "difference", "cluster bootstrap, percentile", found["bootstrap"], top - bottom
        ),
    ]
    if design.shares == design.reference:
        rows.append(_row(design, "not rejected", "sign flip (ours)", found["p"], 0.0))
    return rows


def table(runs: int, paired_runs: int) -> list[Row]:
    """Simulate all designs."""
    rng = np.random.default_rng(SEED)
    rows: list[Row] = []
    for icc in (0.6, 0.2):
        for prompts in (5, 8, 10, 20, 40, 100):
            laws = [(p,) * tasks for tasks in (1, 6) for p in SHARES]
            for shares in [*laws, MIXED]:
                design = Design(shares=shares, prompts=prompts, icc=icc)
                rows += single_rows(design, runs, rng)
    for tasks, prompts in ((1, 10), (1, 20), (1, 100), (6, 10), (6, 20), (6, 100)):
        for student, teacher in PAIRS:
            rows += paired_rows(
                Design(shares=(student,) * tasks, prompts=prompts, reference=(teacher,) * tasks),
                paired_runs,
                rng,
            )
    return rows


def _readme(rows: Sequence[Row]) -> str:
    ours = [row for row in rows if "(ours)" in row.method]
    low = [row for row in ours if row.coverage < 0.93]
    high = [row for row in ours if row.coverage > 0.97]
    lines = [
        "# What the intervals cover",
        "",
        f"Simulated designs like GenEval's: {SEEDS_PER_PROMPT} images a prompt, prompts with",
        "their own probabilities (beta distributed with the intra-prompt correlation `icc`);",
        f"nominal 95 %. `coverage.csv` holds every line; seed {SEED}, {rows[0].runs} runs each for",
        f"single numbers and {rows[-1].runs} for pairs (standard error of a coverage of 0.95: "
        f"{100 * np.sqrt(0.0475 / rows[0].runs):.1f} and "
        f"{100 * np.sqrt(0.0475 / rows[-1].runs):.1f} points).",
        "Made by `python -m rcm_bench.statistics_coverage`.",
        "",
        "| number | method | lines | least | mean | greatest | lines below .93 |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, method in dict.fromkeys((row.number, row.method) for row in rows):
        own = [r.coverage for r in rows if (r.number, r.method) == (number, method)]
        lines.append(
            f"| {number} | {method} | {len(own)} | {min(own):.3f} | {np.mean(own):.3f} | "
            f"{max(own):.3f} | {sum(c < 0.93 for c in own)} |"
        )
    lines += [
        "",
        "## Where ours is outside 93 to 97 %",
        "",
        f"Of {len(ours)} lines {len(low)} lie below and {len(high)} above. Above is the price of",
        "never printing 1.00 without a width: with few prompts, or accuracies near 0 and 1, the",
        "intervals are wider than 95 % asks for, and differences there are harder to establish.",
        "All lines below 93 %:",
        "",
        "| number | tasks x prompts | icc | truth | reference | coverage |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r.number} | {r.tasks} x {r.prompts_per_task} | {r.icc} | {r.truth} | "
            f"{'' if r.reference is None else round(r.reference, 4)} | {r.coverage:.3f} |"
            for r in low
        ),
        "",
        "## Our single numbers by prompts in the mean of tasks",
        "",
        "| tasks x prompts | least | mean | greatest |",
        "|---|---|---|---|",
    ]
    singles = [row for row in ours if row.number == "value"]
    for shape in dict.fromkeys((row.tasks, row.prompts_per_task) for row in singles):
        own = [r.coverage for r in singles if (r.tasks, r.prompts_per_task) == shape]
        lines.append(
            f"| {shape[0]} x {shape[1]} | {min(own):.3f} | {np.mean(own):.3f} | {max(own):.3f} |"
        )
    return "\n".join(lines) + "\n"


def main(out: Path) -> None:
    """Write the table and its description."""
    rows = table(runs=3000, paired_runs=1000)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "coverage.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (out / "README.md").write_text(_readme(rows), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "reports/gallery/coverage"))
