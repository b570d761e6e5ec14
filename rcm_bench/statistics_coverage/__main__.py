"""``python -m rcm_bench.statistics_coverage [OUT] [--from RUN]``: simulate, and write the table.

Some ten minutes of processor time, half of that with two idle cores.
"""

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

GALLERY = Path("reports/gallery/coverage")


def write_csv(rows: Sequence[object], path: Path) -> None:
    """Write dataclasses as CSV, numbers with four decimals."""
    lines = [
        {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(row).items()}  # type: ignore[call-overload]
        for row in rows
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def law_from(run: Path, out: Path) -> None:
    """Write the laboratory's prompt sums from a run of ``suites/lab.yaml``."""
    from rcm_bench.finish import open_run
    from rcm_bench.statistics_coverage import laboratory
    from rcm_bench.tables import run_tables

    opened = open_run(run)
    tables = run_tables(opened.plan, opened.store.index(), opened.benchmarks)
    laboratory.write(laboratory.prompt_sums(tables.samples, tables.scores), out)


def main(arguments: Sequence[str]) -> None:
    """Write ``coverage.csv``, ``alarms.csv`` and ``README.md``."""
    parser = argparse.ArgumentParser(prog="python -m rcm_bench.statistics_coverage")
    parser.add_argument("out", nargs="?", type=Path, default=GALLERY)
    parser.add_argument("--from", dest="run", type=Path, help="a run of suites/lab.yaml")
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.run is not None:
        law_from(asked.run, asked.out / "laboratory.csv")
        return
    import numpy as np
    import scipy

    from rcm_bench.statistics_coverage.page import readme
    from rcm_bench.statistics_coverage.table import Runs, simulate_all

    runs = Runs()
    rows, alarms = simulate_all(GALLERY / "laboratory.csv", runs)
    write_csv(rows, asked.out / "coverage.csv")
    write_csv(alarms, asked.out / "alarms.csv")
    made = (
        f"{runs.proportions} simulated runs a line ({runs.vbench} of VBench), so a coverage of "
        f"0.95 has a standard error of {100 * (0.0475 / runs.proportions) ** 0.5:.1f} points "
        f"({100 * (0.0475 / runs.vbench) ** 0.5:.1f}); numpy {np.__version__}, "
        f"scipy {scipy.__version__}"
    )
    (asked.out / "README.md").write_text(readme(rows, alarms, made), encoding="utf-8")


if __name__ == "__main__":
    # Two processes share the work; more threads in each would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main(sys.argv[1:])
