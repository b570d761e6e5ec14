"""The answer in plain words, made from the paired table and nothing else.

Students are told apart from the teacher by the paired test of the run; from each other only where their
intervals do not touch, which is the more cautious rule.
"""

from dataclasses import dataclass
from typing import NamedTuple

from rcm_reports.completeness import Completeness
from rcm_reports.formatting import interval, known, number, percent, percent_interval, share, signed
from rcm_reports.study import Cell, Metric, Pair, Study


class Rung(NamedTuple):
    """What happens at one number of steps."""

    steps: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The first thing that a reader sees.

    Args:
        lead: One or two sentences.
        rungs: One sentence per number of steps, most steps first.
        caveats: What limits the answer.
    """

    lead: str
    rungs: tuple[Rung, ...]
    caveats: tuple[str, ...]


def verdict(study: Study, completeness: Completeness) -> Verdict:
    """Say how close the students come, or why that cannot be said."""
    caveats = completeness.remarks()
    metric = study.quality
    if metric is None or not _has_total(study, metric):
        return Verdict(lead=_no_total(completeness), rungs=(), caveats=tuple(caveats))
    if not completeness.whole:
        caveats.insert(0, f"This run is not complete: {completeness.reason()}.")
    if study.reference is None:
        return Verdict(lead=_without_reference(study, metric), rungs=(), caveats=tuple(caveats))
    best = _best(study, metric)
    if best is None:
        return Verdict(lead=_reference_only(study, metric), rungs=(), caveats=tuple(caveats))
    rungs = tuple(
        Rung(steps, text)
        for steps in reversed(study.steps)
        if (text := _rung(study, metric, steps))
    )
    if any(_is_tied(study, metric, cell) for cell in _student_cells(study, metric)):
        caveats.append(
            "A tie means that this many prompts do not tell the two apart; it does not show that they are equal."
        )
    return Verdict(lead=_lead(study, metric, best), rungs=rungs, caveats=tuple(caveats))


def _has_total(study: Study, metric: Metric) -> bool:
    return any(key == metric.key and known(value.value) for (key, _), value in study.values.items())


def _no_total(completeness: Completeness) -> str:
    reason = completeness.reason()
    if reason:
        return f"No verdict: this run is not complete ({reason}), so no benchmark total is given. The parts below stand as they are."
    return "No verdict: nothing was measured that a total could be made of."


def _without_reference(study: Study, metric: Metric) -> str:
    cell = max(
        (
            cell
            for key, cell in study.values
            if key == metric.key and known(study.values[key, cell].value)
        ),
        key=lambda cell: (
            study.values[metric.key, cell].value * (1 if metric.higher_is_better else -1)
        ),
    )
    return (
        f"No teacher to compare with: the numbers stand alone. Best is {study.label(cell.series)} at "
        f"{_steps(cell.steps)} with {_value(study, metric, cell)} in {metric.full_title}."
    )


def _reference_only(study: Study, metric: Metric) -> str:
    assert study.reference is not None
    name = study.label(study.reference.series)
    text = (
        f"Only {name} was measured: {_value(study, metric, study.reference)} in {metric.full_title} "
        f"at {_steps(study.reference.steps)}"
    )
    fewer = [
        cell for cell in study.cells(study.reference.series) if (metric.key, cell) in study.pairs
    ]
    parts = [
        f"{_steps(cell.steps)} keep {_kept(study.pairs[metric.key, cell])}"
        for cell in reversed(fewer)
    ]
    return text + ("; of that, " + ", ".join(parts) if parts else "") + "."


def _lead(study: Study, metric: Metric, best: Cell) -> str:
    name = study.label(best.series)
    text = f"At {_steps(best.steps)} {_claim(study, metric, best)}{_cost(study, best)}{_diverse(study, best)}"
    fewest = min(
        (cell for cell in study.cells(best.series) if (metric.key, cell) in study.pairs),
        key=lambda cell: cell.steps,
    )
    if fewest.steps < best.steps:
        pair = study.pairs[metric.key, fewest]
        text += f"; at {_steps(fewest.steps)} {_kept(pair, metric)}{_diverse(study, fewest)}"
    return text.replace("{name}", name) + "."


def _claim(study: Study, metric: Metric, cell: Cell) -> str:
    """Say what the best student does, with ``{name}`` where its name goes."""
    pair = study.pairs[metric.key, cell]
    title = metric.full_title
    if pair.tied:
        return f"{{name}} cannot be told apart from its teacher in {title} (a tie: {_kept(pair, metric)})"
    if known(pair.ratio) and metric.higher_is_better and pair.ratio > 1:
        return f"{{name}} exceeds its teacher in {title} ({_kept(pair, metric)})"
    if known(pair.ratio) and metric.higher_is_better:
        return f"{{name}} keeps {_kept(pair, metric)} of its teacher's {title} score"
    return f"{{name}} differs from its teacher in {title} by {_kept(pair, metric)}"


def _kept(pair: Pair, metric: Metric | None = None) -> str:
    """Return a paired result as the share of the teacher's score, or as a difference where that has no meaning."""
    if known(pair.ratio) and (metric is None or metric.higher_is_better):
        return f"{percent(pair.ratio)} {percent_interval(pair.ratio_low, pair.ratio_high)}"
    return f"{signed(pair.difference, 3)} {interval(pair.low, pair.high, 3, sign=True)}"


def _cost(study: Study, cell: Cell) -> str:
    assert study.reference is not None
    mine, full = study.nfe.get(cell), study.nfe.get(study.reference)
    if mine is None or not full:
        return ""
    if mine == full:
        return " with as many network evaluations"
    return f" with {share(mine, full)} of the network evaluations"


def _diverse(study: Study, cell: Cell) -> str:
    metric = study.diversity
    pair = study.pairs.get((metric.key, cell)) if metric else None
    if pair is None or not known(pair.ratio):
        return ""
    if pair.tied:
        return f" and a diversity that is tied with the teacher's ({_kept(pair)})"
    return f" and {_kept(pair)} of the diversity"


def _student_cells(study: Study, metric: Metric) -> list[Cell]:
    return [
        cell
        for series in study.students
        for cell in study.cells(series)
        if (metric.key, cell) in study.pairs and known(study.pairs[metric.key, cell].difference)
    ]


def _ranked(study: Study, metric: Metric, steps: int) -> list[Cell]:
    """Return the students at one number of steps, best first."""
    sign = 1 if metric.higher_is_better else -1
    cells = [cell for cell in _student_cells(study, metric) if cell.steps == steps]
    return sorted(cells, key=lambda cell: -sign * study.pairs[metric.key, cell].difference)


def _best(study: Study, metric: Metric) -> Cell | None:
    """Return the best student at the most steps that any student was run at."""
    most = max((cell.steps for cell in _student_cells(study, metric)), default=0)
    return _ranked(study, metric, most)[0] if most else None


def _rung(study: Study, metric: Metric, steps: int) -> str:
    ranked = _ranked(study, metric, steps)
    if not ranked:
        return ""
    first, rest = ranked[0], ranked[1:]
    text = f"{study.label(first.series)} {_short(study, metric, first)}"
    behind = [cell for cell in rest if _apart(study, metric, first, cell)]
    close = [cell for cell in rest if not _apart(study, metric, first, cell)]
    if close:
        text += f", not told apart from {_listed(study, metric, close)}"
    if behind:
        text += f"{'; ahead' if close else ', ahead'} of {_listed(study, metric, behind)}"
    return text + _own_steps(study, metric, steps) + "."


def _own_steps(study: Study, metric: Metric, steps: int) -> str:
    """Say what the teacher itself does at so few steps: what distillation has to beat."""
    assert study.reference is not None
    cell = Cell(study.reference.series, steps)
    pair = study.pairs.get((metric.key, cell))
    if pair is None or cell == study.reference or not known(pair.difference):
        return ""
    return f"; undistilled, {study.label(cell.series)} itself {_short(study, metric, cell)}"


def _short(study: Study, metric: Metric, cell: Cell) -> str:
    pair = study.pairs[metric.key, cell]
    return _kept(pair, metric) + (" (tie with the teacher)" if pair.tied else "")


def _listed(study: Study, metric: Metric, cells: list[Cell]) -> str:
    names = [f"{study.label(cell.series)} {_short(study, metric, cell)}" for cell in cells]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _apart(study: Study, metric: Metric, one: Cell, other: Cell) -> bool:
    first, second = study.pairs[metric.key, one], study.pairs[metric.key, other]
    if not known(first.low, first.high, second.low, second.high):
        return False
    return first.low > second.high or second.low > first.high


def _is_tied(study: Study, metric: Metric, cell: Cell) -> bool:
    return bool(study.pairs[metric.key, cell].tied)


def _value(study: Study, metric: Metric, cell: Cell) -> str:
    value = study.values[metric.key, cell]
    return f"{number(value.value, 3)} {interval(value.low, value.high, 3)}"


def _steps(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"
