"""gate: is every student at most so much worse than its teacher, or than a baseline?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rcm_bench.baseline_file import read_evidence
from rcm_bench.errors import UserError
from rcm_bench.evidence import evidence_of
from rcm_bench.finish import open_run
from rcm_bench.gates import Check, check_margins, judge
from rcm_bench.statistics.noninferiority import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What the gates say of a run.

    Args:
        run: The run folder.
        suite: Name of its suite.
        against: The baseline, or None for the run's own teacher.
        checks: One entry for each gate and configuration.
        remarks: What the reader should know.
    """

    run: Path
    suite: str
    against: str | None
    checks: list[Check]
    remarks: list[str]

    @property
    def outcome(self) -> Outcome:
        """Return fail if a check failed, else inconclusive if one is, else pass."""
        outcomes = {check.outcome for check in self.checks}
        if "fail" in outcomes:
            return "fail"
        return "inconclusive" if "inconclusive" in outcomes else "pass"


def gate(
    run: str | Path,
    baseline: str | Path | None = None,
    margin: Mapping[str, float] | None = None,
    junit: str | Path | None = None,
    summary: str | Path | None = None,
) -> Judged:
    """Judge a run by the gates of its suite.

    Args:
        run: A run folder.
        baseline: A file written by ``baseline``, or another run folder: every student is compared
            with the same model and steps there, not with its teacher.
        margin: Margins by metric, in place of the gates that the suite declares.
        junit: File for JUnit XML.
        summary: File for a Markdown summary.

    Raises:
        UserError: Nothing is gated, a metric is unknown, or the baseline does not fit.
    """
    opened = open_run(Path(run))
    known = [f"{b.name}.{metric}" for b in opened.benchmarks for metric in b.metrics]
    gates, remarks = opened.plan.suite.gates, []
    if margin:
        gates = check_margins(margin, known)
        remarks.append("margins were named after the run was made, not declared by its suite")
    if not gates:
        raise UserError(
            f"{run}: its suite declares no gates; name a margin, such as: --margin "
            f"{_example(known)}=0.02"
        )
    evidence = evidence_of(opened, str(run), only={name.split(".")[0] for name in gates})
    other = None if baseline is None else read_evidence(baseline)
    checks = judge(gates, evidence, other)
    judged = Judged(
        run=Path(run),
        suite=evidence.suite,
        against=None if other is None else other.label,
        checks=checks,
        remarks=remarks,
    )
    _write(judged, junit, summary)
    return judged


def _write(judged: Judged, junit: str | Path | None, summary: str | Path | None) -> None:
    if junit is None and summary is None:
        return
    from rcm_bench import gate_files

    if junit is not None:
        gate_files.write(Path(junit), gate_files.junit(judged.suite, judged.checks))
    if summary is not None:
        text = gate_files.summary(judged.suite, judged.outcome, judged.checks)
        gate_files.write(Path(summary), text)


def _example(metrics: list[str]) -> str:
    return metrics[0] if metrics else "geneval.overall"
