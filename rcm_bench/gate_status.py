"""What the gates of a suite say of a run, for its report."""

from dataclasses import asdict
from typing import Any

from rcm_bench.errors import UserError
from rcm_bench.evidence import evidence_of
from rcm_bench.finish import OpenRun
from rcm_bench.gates import judge

_WORST_FIRST = ("fail", "inconclusive", "pass")
_SHOWN = (
    *("metric", "model", "steps", "reference", "unit", "margin"),
    *("loss", "low", "high", "outcome", "reason"),
)


def gate_status(run: OpenRun) -> dict[str, Any] | None:
    """Judge a run by the gates that its suite declares; None where it declares none.

    A gate that cannot be judged is inconclusive, and says why.
    """
    gates = run.plan.suite.gates
    if not gates:
        return None
    try:
        checks = judge(gates, evidence_of(run, run.plan.suite.suite))
    except UserError as fault:
        return {"outcome": "inconclusive", "why": str(fault), "checks": []}
    outcomes = {check.outcome for check in checks}
    rows = [{name: value for name, value in asdict(c).items() if name in _SHOWN} for c in checks]
    return {
        "outcome": next(outcome for outcome in _WORST_FIRST if outcome in outcomes),
        "why": "",
        "checks": rows,
    }
