"""Two configurations, of one side or of two, compared prompt by prompt. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from rcm_bench.aggregate import common_prompts
from rcm_bench.errors import UserError
from rcm_bench.evidence import CellKey, Evidence
from rcm_bench.measured import Cell, Measured, cells
from rcm_bench.statistics import Comparison, Population, compare, value_of

NAN = float("nan")
_SAMPLER = "sampler"


class Aligned(NamedTuple):
    """One metric of two sides, with the same names for the same prompts and strata.

    Attributes:
        candidate: Sums of each configuration of the side in question.
        reference: Sums of each configuration of the side that it is compared with.
        measured: What the metric is made of; its rows are those of both sides.
    """

    candidate: Mapping[CellKey, Cell]
    reference: Mapping[CellKey, Cell]
    measured: Measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """A candidate beside a reference in one metric.

    Args:
        value: The candidate's value on the common prompts.
        reference_value: The reference's.
        found: Difference (candidate minus reference), its interval and its test.
        n_prompts: Prompts that both have scores for.
        n_unpaired: Prompts that only one of the two has scores for.
        n_missing: Planned samples of the two on their own prompts that went unscored.
    """

    value: float
    reference_value: float
    found: Comparison
    n_prompts: int
    n_unpaired: int
    n_missing: int


def align(metric: str, candidate: Evidence, reference: Evidence) -> Aligned:
    """Arrange one metric of two sides so that their configurations can be paired.

    Args:
        metric: Such as ``"geneval.overall"``; both sides have it.
        candidate: The side in question.
        reference: The side that it is compared with; may be the same.

    Raises:
        UserError: The two sides make the metric of other parts.
    """
    own = candidate.metrics[metric].measured
    if candidate is reference:
        found = {CellKey(*key): cell for key, cell in cells(own).items()}
        return Aligned(found, found, own)
    other = reference.metrics[metric].measured
    if (own.components, own.kind) != (other.components, other.kind):
        raise UserError(
            f"{metric}: {reference.label} makes it of {_parts(other)} and {candidate.label} of "
            f"{_parts(own)}: these are two quantities"
        )
    ids = _ids(candidate, reference)
    rows = pd.concat(
        [
            own.rows.assign(side=0),
            other.rows.assign(side=1, prompt_id=other.rows["prompt_id"].map(ids)),
        ],
        ignore_index=True,
    )
    # The name of the sampler carries the side: cells are told apart by it and by nothing else.
    rows[_SAMPLER] = rows["side"].map({0: "0", 1: "1"}) + rows[_SAMPLER]
    joint = Measured(rows=rows, components=own.components, kind=own.kind, ratio=own.ratio)
    sides: tuple[dict[CellKey, Cell], dict[CellKey, Cell]] = ({}, {})
    for (model, sampler, steps), cell in cells(joint).items():
        sides[int(sampler[0])][CellKey(model, sampler[1:], steps)] = cell
    return Aligned(*sides, joint)


def _parts(measured: Measured) -> str:
    named = ", ".join(part for part in measured.components if part)
    return f"{named or 'one part'} ({measured.kind})"


def _ids(candidate: Evidence, reference: Evidence) -> dict[str, str]:
    """Map the reference's prompt ids to the candidate's; foreign prompts keep a name of their own.

    An id holds the place of the prompt in its set, so equal prompts of two sets may have two.
    """
    known = {digest: prompt_id for prompt_id, digest in candidate.prompts.items()}
    return {
        prompt_id: known.get(digest, f"only in the reference: {digest}")
        for prompt_id, digest in reference.prompts.items()
    }


def pair(
    aligned: Aligned, key: CellKey, other: CellKey, population: Population, *, same: bool = False
) -> Paired | None:
    """Compare one configuration with another; None if nothing of one of the two was scored.

    Args:
        aligned: One metric of the two sides.
        key: Configuration of the candidate.
        other: Configuration of the reference.
        population: What intervals and tests speak of.
        same: True if the two are the same stored files: they differ by nothing, and no test is
            made.
    """
    a, b = aligned.candidate.get(key), aligned.reference.get(other)
    if a is None or b is None:
        return None
    both = common_prompts(a, b)
    if same:
        found = _exact(0.0, "the same samples")
    elif aligned.measured.kind == "exact":
        found = _exact(value_of(both.student) - value_of(both.reference), "exact count")
    else:
        found = compare(
            both.student,
            both.reference,
            kind=aligned.measured.kind,
            population=population,
            ratio=aligned.measured.ratio,
        )
    scored = [cell.prompts[cell.clusters.denominator.sum(1) > 0] for cell in (a, b)]
    return Paired(
        value=value_of(both.student),
        reference_value=value_of(both.reference),
        found=found,
        n_prompts=len(both.prompts),
        n_unpaired=len(scored[0].union(scored[1])) - len(both.prompts),
        n_missing=sum(int(cell.n_missing.sum()) for cell in (a, b)),
    )


def _exact(difference: float, method: str) -> Comparison:
    return Comparison(
        difference=difference,
        difference_low=difference,
        difference_high=difference,
        p=NAN,
        p_least=NAN,
        detectable=NAN,
        ratio=NAN,
        ratio_low=NAN,
        ratio_high=NAN,
        method=method,
    )
