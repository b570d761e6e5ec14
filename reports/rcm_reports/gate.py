"""The gates of a suite in one line, and each of its checks below."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rcm_reports.formatting import (
    decimals_for,
    interval,
    known,
    number,
    plural,
    steps_text,
    visible,
)

WORDS = {"pass": "passed", "fail": "failed", "inconclusive": "inconclusive"}


class GateLine(NamedTuple):
    """One check."""

    outcome: str
    said: str


class GateStatus(NamedTuple):
    """What the gates say: the outcome, a sentence, and every check, the worst first."""

    outcome: str
    said: str
    lines: list[GateLine]


def gate_status(manifest: Mapping[str, Any]) -> GateStatus | None:
    """Return what the gates say of a run; None where none are declared."""
    gate = manifest.get("gate")
    if not isinstance(gate, Mapping):
        return None
    outcome = str(gate.get("outcome"))
    outcome = outcome if outcome in WORDS else "inconclusive"
    checks = list(gate.get("checks") or [])
    order = ["fail", "inconclusive", "pass"]
    checks.sort(key=lambda check: order.index(check["outcome"]))
    titles = {str(key): info.get("title") or key for key, info in _metrics(manifest).items()}
    passed = sum(check["outcome"] == "pass" for check in checks)
    failed = sum(check["outcome"] == "fail" for check in checks)
    counts = [f"{passed} of {plural(len(checks), 'check')} passed"] if checks else []
    counts += [f"{failed} failed"] if failed else []
    unknown = len(checks) - passed - failed
    counts += [f"{unknown} inconclusive"] if unknown else []
    why = visible(gate.get("why") or "", 300)
    said = f"Gate {WORDS[outcome]}: {why or ', '.join(counts)}."
    return GateStatus(outcome, said, [_line(check, titles) for check in checks])


def _metrics(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    metrics: Mapping[str, Any] = manifest.get("metrics") or {}
    return metrics


def _line(check: Mapping[str, Any], titles: Mapping[str, Any]) -> GateLine:
    model = visible(check["model"], 60)
    metric = visible(titles.get(check["metric"]) or check["metric"], 60)
    digits = decimals_for([(check["low"], check["high"])])
    loss = f"{number(check['loss'], digits)} {interval(check['low'], check['high'], digits)}"
    told = f"loss {loss}, allowed {check['margin']:g}" if known(check["loss"]) else "not measured"
    said = f"{model} at {steps_text(int(check['steps']))} in {metric}: {told}"
    if check["outcome"] != "pass" and check.get("reason"):
        said += f"; {visible(check['reason'], 200)}"
    return GateLine(check["outcome"], said)
