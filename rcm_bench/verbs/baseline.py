"""baseline: a run's numbers as one small file, for later runs to be gated against."""

from pathlib import Path

from rcm_bench.baseline_file import write_baseline
from rcm_bench.evidence import run_evidence


def baseline(run: str | Path, out: str | Path) -> Path:
    """Write the sums per prompt of a complete run, with its protocol.

    Args:
        run: A run folder.
        out: The file.

    Raises:
        UserError: The run is limited or incomplete, or the file cannot be written.
    """
    write_baseline(run_evidence(run), Path(out))
    return Path(out)
