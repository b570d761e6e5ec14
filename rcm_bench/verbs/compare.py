"""compare: what makes the numbers of two runs incomparable, then what differs between them."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rcm_bench.baseline_file import read_evidence
from rcm_bench.errors import UserError
from rcm_bench.evidence import Evidence
from rcm_bench.published import ReferenceTable, reference_table
from rcm_bench.run_pairs import Against, compare_sides, measurements


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Runs compared with the first.

    Args:
        first: Label of the first run.
        against: One entry for each further run.
        published: The first run's numbers beside published ones; None where not asked for.
        whole: True if every run is complete.
    """

    first: str
    against: list[Against]
    published: ReferenceTable | None
    whole: bool

    @property
    def paired(self) -> pd.DataFrame:
        """Return the paired differences of all runs in one table."""
        return pd.concat([entry.paired for entry in self.against], ignore_index=True)

    @property
    def done(self) -> bool:
        """Return True if nothing was refused and no run is incomplete."""
        return self.whole and not any(entry.refused for entry in self.against)


def compare(*runs: str | Path, reference: str | None = None, published: bool = False) -> Compared:
    """Compare runs with the first of them, prompt by prompt.

    Args:
        runs: Run folders, or baseline files that were written by ``baseline``.
        reference: ``MODEL`` or ``MODEL@STEPS`` of the first run that every configuration of the
            others is compared with; by default each with the one of the same model and steps.
        published: Show the first run's numbers beside published ones.

    Raises:
        UserError: There is nothing to compare, or a run cannot be read.
    """
    if not runs or (len(runs) < 2 and not published):
        raise UserError(
            f"compare: expected two runs or more, or one and --published, got {len(runs)}"
        )
    first, *others = [read_evidence(run) for run in runs]
    return Compared(
        first=first.label,
        against=[compare_sides(first, other, reference) for other in others],
        published=_published(first) if published else None,
        whole=first.whole and all(other.whole for other in others),
    )


def _published(first: Evidence) -> ReferenceTable:
    return reference_table(measurements(first), first.protocol, list(first.prompts.values()))
