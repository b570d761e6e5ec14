"""Two configurations, of one side or of two, compared prompt by prompt. Pure."""

from dataclasses import dataclass

import pandas as pd

from rcm_bench.aggregate import _common as common_prompts
from rcm_bench.evidence import CellKey, Evidence, Metric
from rcm_bench.measured import Cell, Measured, cells
from rcm_bench.statistics import Comparison, compare, value_of

NAN = float("nan")


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
        same_samples: True if the two are the same stored files.
    """

    value: float
    reference_value: float
    found: Comparison
    n_prompts: int
    n_unpaired: int
    n_missing: int
    same_samples: bool


def pair(
    metric: str, candidate: Evidence, key: CellKey, reference: Evidence, other: CellKey
) -> Paired | None:
    """Compare one configuration with another; None if one of the two lacks the metric.

    Args:
        metric: Such as ``"geneval.overall"``; both sides have it.
        candidate: The side in question.
        key: Its configuration.
        reference: The side that it is compared with; may be the same.
        other: The reference's configuration.
    """
    first = candidate.metrics[metric]
    sides = two_cells(metric, candidate, key, reference, other)
    if sides is None:
        return None
    a, b = sides
    both = common_prompts(a, b)
    same = candidate.cells[key].samples == reference.cells[other].samples
    if first.measured.kind == "exact":
        found = _exact(value_of(both.student) - value_of(both.reference))
    else:
        found = compare(
            both.student,
            both.reference,
            kind=first.measured.kind,
            population="new prompts",
            ratio=first.measured.ratio,
        )
    return Paired(
        value=value_of(both.student),
        reference_value=value_of(both.reference),
        found=found,
        n_prompts=len(both.prompts),
        n_unpaired=len(a.prompts.union(b.prompts)) - len(both.prompts),
        n_missing=sum(int(cell.n_missing.sum()) for cell in sides),
        same_samples=same,
    )


def _ids(candidate: Evidence, reference: Evidence) -> dict[str, str]:
    """Map the reference's prompt ids to the candidate's; foreign prompts keep a name of their own.

    An id holds the place of the prompt in its set, so equal prompts of two sets may have two.
    """
    if candidate is reference:
        return {}
    known = {digest: prompt_id for prompt_id, digest in candidate.prompts.items()}
    return {
        prompt_id: known.get(digest, f"only in the reference: {digest}")
        for prompt_id, digest in reference.prompts.items()
    }


def _rows(metric: Metric, key: CellKey, ids: dict[str, str]) -> pd.DataFrame:
    rows = metric.measured.rows
    own = rows[(rows["model"] == key.model) & (rows["steps"] == key.steps)]
    own = own[own["sampler"] == key.sampler]
    return own.assign(prompt_id=own["prompt_id"].map(ids)) if ids else own


def two_cells(
    metric: str, candidate: Evidence, key: CellKey, reference: Evidence, other: CellKey
) -> tuple[Cell, Cell] | None:
    """Arrange two configurations as cells of one table, so that prompts and strata agree.

    Args:
        metric: As in `pair`, like the others.
        candidate: The side in question.
        key: Its configuration.
        reference: The side that it is compared with.
        other: The reference's configuration.

    Returns:
        The two; None if one of them has no row.
    """
    entry = candidate.metrics[metric].measured
    first = _rows(candidate.metrics[metric], key, {})
    second = _rows(reference.metrics[metric], other, _ids(candidate, reference))
    if not len(first) or not len(second):
        return None
    rows = pd.concat(
        [
            first.assign(model="candidate", sampler="", steps=0),
            second.assign(model="reference", sampler="", steps=0),
        ],
        ignore_index=True,
    )
    found = cells(
        Measured(
            rows=rows,
            components=entry.components,
            kind=entry.kind,
            ratio=entry.ratio,
        )
    )
    return found["candidate", "", 0], found["reference", "", 0]


def _exact(difference: float) -> Comparison:
    return Comparison(
        difference=difference,
        difference_low=difference,
        difference_high=difference,
        p=NAN,
        ratio=NAN,
        ratio_low=NAN,
        ratio_high=NAN,
        method="exact count",
    )
