"""The answer in plain words, made from the paired table and nothing else.

Students are told apart from the teacher by the paired test of the run, and from each other by
the interval of their lead (leads.py).
"""

from dataclasses import dataclass
from typing import NamedTuple

from rcm_reports.completeness import Completeness
from rcm_reports.formatting import (
    NO_INTERVAL,
    interval,
    known,
    listing,
    number,
    percent,
    percent_interval,
    share,
    signed,
    steps_text,
)
from rcm_reports.leads import has_share, lead_of, leads
from rcm_reports.study import Cell, Metric, Pair, Study

MAX_NAMES = 3
TIE_CAVEAT = (
    "A tie means that this many prompts do not tell a student from its teacher; "
    "it does not show that they are equal."
)


class Standing(NamedTuple):
    """One line at one number of steps: its name, its colour, its share, whether that is a tie."""

    label: str
    css: str
    text: str
    remark: str
    is_teacher: bool
    link: str


class Rung(NamedTuple):
    """What happens at one number of steps: who leads in words, then everybody's numbers."""

    steps: str
    words: str
    standings: list[Standing]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The first thing that a reader sees.

    Args:
        lead: One or two sentences.
        rungs: One per number of steps, most steps first.
        caveats: What limits the answer.
    """

    lead: str
    rungs: tuple[Rung, ...] = ()
    caveats: tuple[str, ...] = ()

    def links(self) -> list[str]:
        """Return all links to the samples."""
        return [each.link for rung in self.rungs for each in rung.standings]


def verdict(study: Study, completeness: Completeness, throughput: str = "") -> Verdict:
    """Say how close the students come, or why that cannot be said, and then how fast they are.

    Args:
        study: What was measured.
        completeness: What of the plan is there.
        throughput: A sentence on speed, for a run that measured nothing else.
    """
    remarks = [*completeness.remarks(), *study.remarks()]
    metric = study.quality
    if metric is None or not study.measured(metric):
        return Verdict(lead=_no_total(completeness, throughput), caveats=tuple(remarks))
    if not completeness.whole:
        remarks.insert(0, f"This run is not complete: {completeness.reason()}.")
    if study.reference is None or (metric.key, study.reference) not in study.values:
        return Verdict(lead=_without_reference(study, metric), caveats=tuple(remarks))
    best = _best(study, metric)
    if best is None:
        return Verdict(lead=_reference_only(study, metric), caveats=tuple(remarks))
    cells = _student_cells(study, metric)
    if any(study.pairs[metric.key, cell].tied for cell in cells):
        remarks.append(TIE_CAVEAT)
    steps = sorted({cell.steps for cell in cells}, reverse=True)
    rungs = tuple(_rung(study, metric, each) for each in steps)
    return Verdict(lead=_lead(study, metric, best), rungs=rungs, caveats=tuple(remarks))


def _no_total(completeness: Completeness, throughput: str) -> str:
    if completeness.whole and throughput:
        return f"{throughput} Nothing was scored: this run says nothing of quality."
    if completeness.whole:
        return "No verdict: nothing was measured that a total could be made of."
    return (
        f"No verdict: this run is not complete ({completeness.reason()}), so no benchmark total is "
        "given. The parts below stand as they are."
    )


def _without_reference(study: Study, metric: Metric) -> str:
    sign = 1 if metric.higher_is_better else -1
    found = {
        cell: value
        for (key, cell), value in study.values.items()
        if key == metric.key and known(value.value)
    }
    best = max(found, key=lambda cell: (sign * found[cell].value, -cell.steps))
    return (
        "No teacher to compare with, so the numbers stand alone. The best is "
        f"{study.label(best.series)} at {steps_text(best.steps)}: {metric.full_title} "
        f"{_value(study, metric, best)}."
    )


def _reference_only(study: Study, metric: Metric) -> str:
    assert study.reference is not None
    series = study.reference.series
    text = (
        f"Only {study.label(series)} was measured: {metric.full_title} "
        f"{_value(study, metric, study.reference)} at {steps_text(study.reference.steps)}."
    )
    fewer = [cell for cell in reversed(study.cells(series)) if _pair(study, metric, cell)]
    kept = [
        f"{_kept(study, metric, cell)} at {steps_text(cell.steps)}"
        for cell in fewer
        if cell != study.reference
    ]
    return f"{text} Of that it keeps {listing(kept)}." if kept else text


def _lead(study: Study, metric: Metric, best: Cell) -> str:
    name, title = study.label(best.series), metric.full_title
    first = f"At {steps_text(best.steps)} {name} {_claim(study, metric, best, title)}"
    first += _cost(study, best) + _diversity(study, best)
    fewest = min(
        (cell for cell in study.cells(best.series) if _pair(study, metric, cell)),
        key=lambda cell: cell.steps,
    )
    if fewest == best:
        return first + "."
    then = f"At {steps_text(fewest.steps)} it {_claim(study, metric, fewest, '')}"
    return f"{first}. {then}{_diversity(study, fewest)}."


def _claim(study: Study, metric: Metric, cell: Cell, title: str) -> str:
    """Say how a student stands; the first time with the metric's title, later without."""
    pair, kept = study.pairs[metric.key, cell], _kept(study, metric, cell)
    where = f" in {title}" if title else ""
    whose = f"its teacher\N{RIGHT SINGLE QUOTATION MARK}s {title} score" if title else "the score"
    share_known = known(pair.ratio) and metric.higher_is_better
    if pair.tied:
        return f"ties with its teacher{where} ({kept}{' of its score' if share_known else ''})"
    if not share_known:
        return f"differs from its teacher{where} by {kept}"
    if pair.ratio > 1:
        return f"scores higher than its teacher{where} ({kept} of its score)"
    return f"keeps {kept} of {whose}"


def _cost(study: Study, cell: Cell) -> str:
    assert study.reference is not None
    mine, full = study.nfe.get(cell), study.nfe.get(study.reference)
    if mine is None or not full:
        return ""
    return f" at {share(mine, full)} of the network evaluations" if mine != full else ""


def _diversity(study: Study, cell: Cell) -> str:
    metric = study.diversity
    pair = _pair(study, metric, cell) if metric else None
    if metric is None or pair is None or not known(pair.ratio):
        return ""
    kept = _kept(study, metric, cell)
    if pair.tied:
        return f", and ties with it in diversity ({kept})"
    return (
        f", and keeps {kept} of its diversity" if pair.ratio <= 1 else f", and varies more ({kept})"
    )


def _kept(study: Study, metric: Metric, cell: Cell) -> str:
    """Return the share of the teacher's score, or the difference where a share has no meaning."""
    pair = study.pairs[metric.key, cell]
    if known(pair.ratio) and metric.higher_is_better:
        return f"{percent(pair.ratio)} {percent_interval(pair.ratio_low, pair.ratio_high)}"
    return f"{signed(pair.difference, 3)} {_around(interval(pair.low, pair.high, 3, sign=True))}"


def _pair(study: Study, metric: Metric, cell: Cell) -> Pair | None:
    pair = study.pairs.get((metric.key, cell))
    return pair if pair is not None and known(pair.difference) else None


def _student_cells(study: Study, metric: Metric) -> list[Cell]:
    cells = [cell for series in study.students for cell in study.cells(series)]
    return [cell for cell in cells if _pair(study, metric, cell)]


def _ranked(study: Study, metric: Metric, steps: int) -> list[Cell]:
    """Return the students at one number of steps, best first."""
    sign = 1 if metric.higher_is_better else -1
    cells = [cell for cell in _student_cells(study, metric) if cell.steps == steps]
    return sorted(cells, key=lambda cell: -sign * study.pairs[metric.key, cell].difference)


def _best(study: Study, metric: Metric) -> Cell | None:
    """Return the best student at the most steps that any student was run at."""
    most = max((cell.steps for cell in _student_cells(study, metric)), default=None)
    return None if most is None else _ranked(study, metric, most)[0]


def _rung(study: Study, metric: Metric, steps: int) -> Rung:
    ranked = _ranked(study, metric, steps)
    standings = [_standing(study, metric, cell) for cell in ranked]
    if study.reference is not None:
        own = Cell(study.reference.series, steps)
        if own != study.reference and _pair(study, metric, own):
            standings.append(_standing(study, metric, own))
    return Rung(steps_text(steps), _who_leads(study, metric, ranked), standings)


def _who_leads(study: Study, metric: Metric, ranked: list[Cell]) -> str:
    """Say who is best, by how much, and whether that is more than chance."""
    first, rest = ranked[0], ranked[1:]
    name = study.label(first.series)
    behind = [cell for cell in rest if leads(study, metric, first, cell)]
    close = [cell for cell in rest if cell not in behind]
    if not rest:
        return ""
    near = _few([_lead_over(study, metric, first, cell, "") for cell in close], "others")
    over = _few([_lead_over(study, metric, first, cell, "by ") for cell in behind], "others")
    if not close:
        return f"Best: {name}, ahead of {over}, more than chance."
    words = f"No clear best: {name} scores highest, too close to call with {near}."
    return f"{words} It is ahead of {over}, more than chance." if behind else words


def _few(names: list[str], word: str) -> str:
    """List some names; count many, whose numbers stand below anyway."""
    return listing(names) if len(names) <= MAX_NAMES else f"{len(names)} {word}"


def _lead_over(study: Study, metric: Metric, first: Cell, other: Cell, by: str) -> str:
    name, lead = study.label(other.series), lead_of(study, metric, first, other)
    in_points = has_share(study.pairs[metric.key, first], metric)
    scale, decimals = (100, 0) if in_points else (1, 3)
    value = number(scale * lead.value, decimals)
    unit = (" point" if value == "1" else " points") if in_points else ""
    around = interval(scale * lead.low, scale * lead.high, decimals)
    if by:
        return f"{name} {by}{value}{unit} {_around(around)}"
    return f"{name} ({value}{unit}{',' if around == NO_INTERVAL else ''} {around})"


def _standing(study: Study, metric: Metric, cell: Cell) -> Standing:
    is_teacher = study.reference is not None and cell.series.model == study.reference.series.model
    return Standing(
        study.label(cell.series),
        study.style(cell.series).css,
        _kept(study, metric, cell),
        _remark(study.pairs[metric.key, cell]),
        is_teacher,
        study.samples_link(cell),
    )


def _remark(pair: Pair) -> str:
    if pair.tied is None:
        return "too few prompts to tell"
    return "tie" if pair.tied else ""


def _value(study: Study, metric: Metric, cell: Cell) -> str:
    value = study.values[metric.key, cell]
    return f"{number(value.value, 3)} {_around(interval(value.low, value.high, 3))}"


def _around(text: str) -> str:
    return f"({text})" if text == NO_INTERVAL else text
