"""score: again from the stored samples; nothing is sampled."""

import shlex
from pathlib import Path

from rcm_bench.finish import Outcome, conclude, open_run
from rcm_bench.live import Asked, live
from rcm_bench.scoring import score as score_missing
from rcm_bench.scoring import scores_per_sample


def score(run: str | Path) -> Outcome:
    """Score what has no score yet, by the scorers as they are now, and write the report.

    Args:
        run: A run folder.

    Raises:
        UserError: It is no run folder.
    """
    opened = open_run(Path(run))
    asked = Asked(
        plan=opened.plan,
        prompt_ids=opened.plan.limited(None),
        evaluations={},
        scorers=scores_per_sample(opened.plan, opened.benchmarks),
        untimed=False,
        command=f"python -m rcm_bench score {shlex.quote(str(run))}",
    )
    try:
        with live(opened.store, asked):
            score_missing(opened.plan, opened.store, opened.store.index(), opened.benchmarks)
        return conclude(opened)
    finally:
        opened.store.close()
