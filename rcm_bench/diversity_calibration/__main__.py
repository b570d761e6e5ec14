"""``python -m rcm_bench.diversity_calibration [OUT]``: draw, measure, and write the report.

A few minutes of processor time.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcm_bench.gallery_command import gallery_folder, on_one_thread

GALLERY = Path("reports/gallery/diversity_calibration")
PER_TASK = 4
PROMPT_SEED = 77


def _write(rows: Sequence[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})


def main(arguments: Sequence[str]) -> None:
    """Write ``ranks.csv``, ``response.csv``, ``dose_response.svg`` and ``README.md``."""
    out = gallery_folder("rcm_bench.diversity_calibration", GALLERY, arguments)
    from dataclasses import asdict

    from rcm_bench.diversity_calibration.generators import COLLAPSES, NOISY
    from rcm_bench.diversity_calibration.measure import SAMPLES, draw_all, measure_all
    from rcm_bench.diversity_calibration.networks import networks
    from rcm_bench.diversity_calibration.page import plot, readme
    from rcm_distill.lab.grammar import prompt_set

    made = on_one_thread()
    prompts = prompt_set(PER_TASK, PROMPT_SEED)
    collapses = (*COLLAPSES, *NOISY)
    images = draw_all(prompts, collapses)
    rows, ranks = measure_all(images, collapses, networks(0), len(prompts))
    _write([asdict(row) for row in rows], out / "response.csv")
    _write([rank._asdict() for rank in ranks], out / "ranks.csv")
    plot(rows, out / "dose_response.svg")
    page = readme(rows, ranks, prompts=len(prompts), samples=SAMPLES, made=made())
    (out / "README.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
