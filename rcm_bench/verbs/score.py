"""score: again from the stored samples; nothing is sampled."""

from pathlib import Path

from rcm_bench.finish import Outcome, conclude, open_run
from rcm_bench.scoring import score as score_missing


def score(run: str | Path) -> Outcome:
    """Score what has no score yet, by the scorers as they are now, and write the report.

    Args:
        run: A run folder.

    Raises:
        UserError: It is no run folder.
    """
    opened = open_run(Path(run))
    try:
        score_missing(opened.plan, opened.store, opened.store.index(), opened.benchmarks)
        return conclude(opened)
    finally:
        opened.store.close()
