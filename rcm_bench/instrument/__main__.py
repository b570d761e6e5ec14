"""``python -m rcm_bench.instrument [OUT]``: draw, score, compare, and write the report.

A few minutes of processor time.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rcm_bench.gallery_command import gallery_folder, on_one_thread

GALLERY = Path("reports/gallery/instrument")
PER_TASK = 10
PROMPT_SEED = 78
REPETITIONS = 4
EXPERIMENTS = 64


def main(arguments: Sequence[str]) -> None:
    """Write ``response.csv``, ``alarms.csv``, ``response.svg`` and ``README.md``."""
    out = gallery_folder("rcm_bench.instrument", GALLERY, arguments)
    from dataclasses import asdict

    import pandas as pd

    from rcm_bench.instrument.doses import DOSES
    from rcm_bench.instrument.page import plot, readme
    from rcm_bench.instrument.response import false_alarms, respond
    from rcm_distill.lab.grammar import prompt_set

    made = on_one_thread()
    prompts = prompt_set(PER_TASK, PROMPT_SEED)
    rows = respond(prompts, DOSES, REPETITIONS)
    alarms = false_alarms(prompts, EXPERIMENTS)
    responses = pd.DataFrame([asdict(row) for row in rows])
    for table, name in ((responses, "response.csv"), (alarms, "alarms.csv")):
        table.to_csv(out / name, index=False, float_format="%.5g", lineterminator="\n")
    plot(rows, out / "response.svg")
    page = readme(rows, alarms, prompts=len(prompts), made=made())
    (out / "README.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
