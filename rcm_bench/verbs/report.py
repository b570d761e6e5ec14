"""report: again from the stored scores; neither samples nor times anything."""

from pathlib import Path

from rcm_bench.finish import Outcome, conclude, open_run


def report(run: str | Path) -> Outcome:
    """Write tables, plots and the page of a run again.

    Args:
        run: A run folder.

    Raises:
        UserError: It is no run folder, or holds no samples.
    """
    return conclude(open_run(Path(run)))
