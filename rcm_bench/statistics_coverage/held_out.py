"""Coverage on designs that nobody looked at: drawn at random after the intervals were settled.

``python -m rcm_bench.statistics_coverage.held_out [OUT]`` writes ``held_out.csv`` and
``held_out.md``. The prior of the intervals was chosen with the designs of ``coverage.csv`` in view;
these were not.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rcm_bench.statistics_coverage.__main__ import GALLERY, write_csv
from rcm_bench.statistics_coverage.designs import Design
from rcm_bench.statistics_coverage.measure import HIGH, LOW, Row, paired_rows, single_rows

SEED = 20_261_124
DESIGNS, RUNS, TASKS = 24, 1500, 6


def random_designs(rng: np.random.Generator) -> Iterator[Design]:
    """Yield benchmarks of six tasks: accuracies of 0.1 to 0.98, 15 to 120 prompts a task."""
    for number in range(DESIGNS):
        shares = rng.uniform(0.1, 0.98, (2, TASKS))
        yield Design(
            name=f"held out {number + 1}",
            shares=tuple(shares[0]),
            reference=tuple(shares[1]),
            prompts=tuple(int(n) for n in rng.integers(15, 121, TASKS)),
            icc=tuple(rng.uniform(0.02, 0.7, TASKS)),
            correlation=float(rng.uniform(0.2, 0.95)),
        )


def held_out(runs: int = RUNS) -> list[Row]:
    """Measure accuracies, differences and ratios of all designs, by the intervals of tables."""
    rng = np.random.default_rng(SEED)
    rows = []
    for design in list(random_designs(rng)):
        rows += [*single_rows(design, runs, rng), *paired_rows(design, runs, rng)]
    return [row for row in rows if row.ours]


def summary(rows: Sequence[Row]) -> str:
    """Say in Markdown what was simulated and how much of it lies inside."""
    inside = sum(LOW <= row.coverage <= HIGH for row in rows)
    least, most = min(r.coverage for r in rows), max(r.coverage for r in rows)
    return (
        "# Coverage on designs that nobody looked at\n\n"
        f"{inside} of {len(rows)} lines lie between {LOW} and {HIGH}; the least covers "
        f"{least:.3f}, the greatest {most:.3f}.\n\n"
        f"{DESIGNS} benchmarks of {TASKS} tasks, drawn with seed {SEED} after the intervals "
        "were settled: accuracies\nof 0.1 to 0.98, 15 to 120 prompts a task, 4 images a prompt, "
        "correlations within prompts of 0.02 to 0.7,\nbetween student and teacher of 0.2 to 0.95; "
        f"{RUNS} simulated runs each; value, difference and ratio.\nThe whole benchmark only: "
        "single tasks, and what lies outside there, are in `README.md`.\n"
        "Made by `python -m rcm_bench.statistics_coverage.held_out`.\n"
    )


def main(out: Path) -> None:
    """Write the table and what it says."""
    rows = held_out()
    write_csv(rows, out / "held_out.csv")
    (out / "held_out.md").write_text(summary(rows), encoding="utf-8")
    print(summary(rows))


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else GALLERY)
