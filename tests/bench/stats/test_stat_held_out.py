"""The held-out designs: drawn the same each time, and the committed table says what it says."""

import csv
from pathlib import Path

import numpy as np
import pytest

from rcm_bench.statistics_coverage.held_out import DESIGNS, SEED, held_out, random_designs, summary
from rcm_bench.statistics_coverage.measure import Row

GALLERY = Path(__file__).parents[3] / "reports" / "gallery" / "coverage"


def test_designs_do_not_depend_on_when_they_are_drawn() -> None:
    first, again = (list(random_designs(np.random.default_rng(SEED))) for _ in range(2))
    assert first == again and len(first) == DESIGNS
    assert all(15 <= n <= 120 for design in first for n in design.prompts)


def test_the_committed_table_covers_what_the_summary_says() -> None:
    with (GALLERY / "held_out.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * DESIGNS
    rows = [
        Row(
            **{k: line[k] for k in ("design", "number", "method")},
            **{k: int(line[k]) for k in ("prompts", "strata", "runs")},
            **{k: float(line[k]) for k in ("truth", "coverage", "mean_width", "telling", "step")},
        )
        for line in lines
    ]
    assert (GALLERY / "held_out.md").read_text(encoding="utf-8") == summary(rows)
    assert all(0.925 <= row.coverage <= 0.975 for row in rows)


@pytest.mark.long
def test_few_runs_of_the_simulation_find_the_nominal_level() -> None:
    rows = held_out(runs=40)
    five_errors = 5 * np.sqrt(0.95 * 0.05 / (DESIGNS * 40))
    assert abs(np.mean([row.coverage for row in rows]) - 0.95) < five_errors  # 0.035
