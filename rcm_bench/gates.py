"""Gates: which configurations are judged against what, and what comes of it. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rcm_bench.comparability import differences, doubts, model_differences, obstacles
from rcm_bench.errors import UserError, unknown_name
from rcm_bench.evidence import CellKey, Evidence, Metric
from rcm_bench.pairing import Aligned, Paired, align, pair
from rcm_bench.statistics.noninferiority import Outcome, outcome_of
from rcm_bench.suite import Gate
from rcm_bench.timing import BENCHMARK as TIMING
from rcm_bench.timing_pairs import paired_rounds

NAN = float("nan")
_TIME_UNIT = "s/image"
_UNKNOWN = "the interval reaches over the margin: more prompts or seeds are needed (see: power)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One configuration judged in one metric.

    Args:
        metric: Such as ``"geneval.overall"``.
        model: Name of the model in question.
        steps: Its number of steps.
        reference: What it is compared with, in words.
        unit: Unit of value, loss and margin.
        margin: Largest loss that is accepted.
        value: The candidate's value on the common prompts (a median for times).
        reference_value: The reference's.
        loss: How much worse the candidate is; negative if it is better.
        low: Lower end of the loss's 95 % interval.
        high: Upper end.
        n: Common prompts, or rounds of timing.
        n_missing: Planned samples of the two without a score.
        outcome: Pass, fail or inconclusive.
        reason: Why, in words.
    """

    metric: str
    model: str
    steps: int
    reference: str
    unit: str
    margin: float
    value: float
    reference_value: float
    loss: float
    low: float
    high: float
    n: int
    n_missing: int
    outcome: Outcome
    reason: str


def parse_margins(texts: Sequence[str]) -> dict[str, float]:
    """Read ``NAME=NUMBER`` as the option ``--margin`` takes it.

    Raises:
        UserError: It is spelled otherwise, or a name comes twice.
    """
    margins: dict[str, float] = {}
    for text in texts:
        name, mark, number = text.partition("=")
        try:
            margin = float(number)
        except ValueError:
            mark = ""
        if not mark:
            raise UserError(
                f"--margin: expected NAME=NUMBER, such as geneval.overall=0.02, got '{text}'"
            )
        if name in margins:
            raise UserError(f"--margin {name}: expected one margin, got two")
        margins[name] = margin
    return margins


def check_margins(margins: Mapping[str, float], known: Sequence[str]) -> dict[str, Gate]:
    """Turn margins of the command line into gates on every student.

    Args:
        margins: Metric to margin.
        known: The metrics that there are.

    Raises:
        UserError: A metric is unknown, or a margin is not above 0.
    """
    for name, margin in margins.items():
        if name not in known:
            raise unknown_name("--margin", "metric", name, known)
        if not (margin > 0 and math.isfinite(margin)):
            raise UserError(f"--margin {name}: expected a number > 0, got {margin:g}")
    return {name: Gate(margin=margin) for name, margin in margins.items()}


def judge(
    gates: Mapping[str, Gate], run: Evidence, baseline: Evidence | None = None
) -> list[Check]:
    """Judge a run by its gates.

    Every student is compared with the teacher at its largest number of steps, or with the
    configuration of the same model and steps in a baseline.

    Raises:
        UserError: A gate cannot be judged: the protocols differ, or the baseline lacks a metric.
    """
    if baseline is not None:
        _check_baseline(gates, run, baseline)
    checks = [
        check for metric, gate in gates.items() for check in _judged(metric, gate, run, baseline)
    ]
    if not checks:
        raise UserError(f"{run.label}: holds no student that a gate could judge")
    return checks


def candidates(gate: Gate | None, run: Evidence) -> Iterator[CellKey]:
    """Yield the configurations that a gate judges: by default all of all students."""
    students = [name for name, model in run.models.items() if model["role"] != "teacher"]
    models = (gate and gate.models) or students
    steps = gate and gate.steps
    return (key for key in run.cells if key.model in models and (not steps or key.steps in steps))


def _check_baseline(gates: Mapping[str, Gate], run: Evidence, baseline: Evidence) -> None:
    protocol = differences(baseline, run)
    for metric in gates:
        benchmark = metric.partition(".")[0]
        if benchmark == TIMING and metric not in run.metrics:
            raise UserError(
                f"{metric}: two runs are not timed in the same rounds, so that times are gated "
                "within one run only; leave out --baseline, or name other gates with --margin"
            )
        if metric not in baseline.metrics:
            raise unknown_name(baseline.label, "metric", metric, baseline.metrics)
        if against := obstacles(protocol, benchmark):
            why = against[0]
            raise UserError(
                f"{metric}: cannot be compared with {baseline.label}: {why.part} is {why.first} "
                f"there and {why.other} here: {why.why}"
            )


def _judged(metric: str, gate: Gate, run: Evidence, baseline: Evidence | None) -> Iterator[Check]:
    side = run if baseline is None else baseline
    aligned = align(metric, run, side) if metric in run.metrics else None
    for key in candidates(gate, run):
        own = (run.reference.model, run.reference.steps)
        twin = side.cell(*own) if baseline is None else side.cell(key.model, key.steps)
        where = "" if baseline is None else f" in {baseline.label}"
        blank = _blank(metric, gate.margin, key, f"{twin or key}{where}")
        if twin is None:
            yield replace(blank, reason=f"{side.label} has no {key}")
        elif aligned is None:
            yield _timed(blank, run, key, twin)
        else:
            yield _compared(blank, aligned, run, key, side, twin)


def _blank(metric: str, margin: float, key: CellKey, reference: str) -> Check:
    return Check(
        metric=metric,
        model=key.model,
        steps=key.steps,
        reference=reference,
        unit=_TIME_UNIT,
        margin=margin,
        value=NAN,
        reference_value=NAN,
        loss=NAN,
        low=NAN,
        high=NAN,
        n=0,
        n_missing=0,
        outcome="inconclusive",
        reason="nothing was scored",
    )


def _compared(
    blank: Check, aligned: Aligned, run: Evidence, key: CellKey, side: Evidence, twin: CellKey
) -> Check:
    entry = run.metrics[blank.metric]
    blank = replace(blank, unit=entry.info.unit)
    same = run.cells[key].samples == side.cells[twin].samples
    found = pair(aligned, key, twin, run.population, same=same)
    if found is None:
        return blank
    check = _with_loss(blank, entry, found)
    why = _undecidable(blank.metric, run, key, side, twin, found)
    if why is not None:
        return replace(check, reason=why)
    if same:
        return replace(check, outcome="pass", reason="the same samples")
    return _decided(check, entry.measured.kind, found)


def _with_loss(blank: Check, metric: Metric, found: Paired) -> Check:
    """Turn a difference into a loss: how much worse, whichever way is better."""
    sign = -1.0 if metric.info.higher_is_better else 1.0
    # 0.0 + x spells -0.0 as 0.0.
    loss, *ends = (
        0.0 + sign * x
        for x in (found.found.difference, found.found.difference_low, found.found.difference_high)
    )
    return replace(
        blank,
        value=found.value,
        reference_value=found.reference_value,
        loss=loss,
        low=min(ends),
        high=max(ends),
        n=found.n_prompts,
        n_missing=found.n_missing,
    )


def _decided(check: Check, kind: str, found: Paired) -> Check:
    if kind == "exact":
        good = check.loss <= check.margin
        return replace(check, outcome="pass" if good else "fail", reason="an exact count")
    if math.isnan(check.low):
        return replace(check, reason=found.found.method)
    outcome = outcome_of(check.low, check.high, check.margin)
    return replace(check, outcome=outcome, reason=_reason(outcome, check.low))


def _undecidable(
    metric: str, run: Evidence, key: CellKey, side: Evidence, twin: CellKey, found: Paired
) -> str | None:
    """Say why nothing may be decided, or return None."""
    benchmark = metric.partition(".")[0]
    for evidence, cell in ((run, key), (side, twin)):
        state = evidence.cells[cell]
        if lacking := state.missing(benchmark):
            return (
                f"{lacking} of {state.planned} samples or their scores are missing in "
                f"{evidence.label} ({cell}); see: status"
            )
    share = run.metrics[metric].measured.kind == "proportion"
    if found.n_missing and share and run.protocol["failures"] != "score_zero":
        return f"{found.n_missing} samples could not be scored: a share without them flatters"
    return None if side is run else _incomparable(benchmark, run, key, side, twin)


def _incomparable(
    benchmark: str, run: Evidence, key: CellKey, side: Evidence, twin: CellKey
) -> str | None:
    protocol = differences(side, run)
    models = model_differences(side, twin.model, run, key.model)
    for found in (*doubts(protocol, benchmark), *obstacles(models, benchmark)):
        return f"{found.part} is {found.first} there and {found.other} here: {found.why}"
    narrowed = [d for d in protocol if d.effect == "narrowed"]
    return f"{narrowed[0].first} there and {narrowed[0].other} here" if narrowed else None


def _reason(outcome: Outcome, low: float) -> str:
    if outcome == "pass":
        return "worse, but by less than the margin" if low > 0 else "not worse by the margin"
    return "worse by more than the margin" if outcome == "fail" else _UNKNOWN


def _timed(blank: Check, run: Evidence, key: CellKey, twin: CellKey) -> Check:
    """Judge seconds per image, round by round."""
    rounds = paired_rounds(run.timings[key], run.timings[twin])
    if isinstance(rounds, str):
        return replace(blank, reason=rounds)
    outcome = outcome_of(rounds.low, rounds.high, blank.margin)
    return replace(
        blank,
        value=rounds.value,
        reference_value=rounds.reference_value,
        loss=rounds.difference,
        low=rounds.low,
        high=rounds.high,
        n=rounds.n,
        outcome=outcome,
        reason=_reason(outcome, rounds.low),
    )
