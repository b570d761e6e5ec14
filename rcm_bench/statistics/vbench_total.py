"""VBench's 16 dimensions, Quality, Semantic and Total: one table of sums, one set of draws.

Three of the eleven groups of prompts feed two or three dimensions each, so dimensions are not
independent: prompts are resampled within their group, every dimension is recomputed from the same
draw, and the totals from those (VBench 0.1.5, scripts/constant.py and VBench_full_info.json).

Legend: n prompts, 16 components in the order of `DIMENSIONS`, strata are the groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from rcm_bench.statistics.bootstrap import replicate_ratios
from rcm_bench.statistics.clusters import Clusters, Floats, component_ratios
from rcm_bench.statistics.intervals import Estimate, Kind, estimate
from rcm_bench.statistics.paired import Comparison, compare, contributions, detectable_difference
from rcm_bench.statistics.sign_flip import least_p, sign_flip_p

Part = Literal["quality", "semantic"]
TOTALS = ("total", "quality", "semantic")
TAILS = (0.025, 0.975)
NAN = float("nan")


class Dimension(NamedTuple):
    """How a raw dimension enters the totals: (raw - low) / (high - low), not clipped, by weight."""

    low: float
    high: float
    weight: float
    part: Part
    kind: Kind


DIMENSIONS: Mapping[str, Dimension] = {
    "subject_consistency": Dimension(0.1462, 1.0, 1.0, "quality", "mean"),
    "background_consistency": Dimension(0.2615, 1.0, 1.0, "quality", "mean"),
    "temporal_flickering": Dimension(0.6293, 1.0, 1.0, "quality", "mean"),
    "motion_smoothness": Dimension(0.706, 0.9975, 1.0, "quality", "mean"),
    "dynamic_degree": Dimension(0.0, 1.0, 0.5, "quality", "proportion"),
    "aesthetic_quality": Dimension(0.0, 1.0, 1.0, "quality", "mean"),
    "imaging_quality": Dimension(0.0, 1.0, 1.0, "quality", "mean"),
    "object_class": Dimension(0.0, 1.0, 1.0, "semantic", "proportion"),
    "multiple_objects": Dimension(0.0, 1.0, 1.0, "semantic", "proportion"),
    "human_action": Dimension(0.0, 1.0, 1.0, "semantic", "proportion"),
    "color": Dimension(0.0, 1.0, 1.0, "semantic", "proportion"),
    "spatial_relationship": Dimension(0.0, 1.0, 1.0, "semantic", "proportion"),
    "scene": Dimension(0.0, 0.8222, 1.0, "semantic", "proportion"),
    "appearance_style": Dimension(0.0009, 0.2855, 1.0, "semantic", "mean"),
    "temporal_style": Dimension(0.0, 0.364, 1.0, "semantic", "mean"),
    "overall_consistency": Dimension(0.0, 0.364, 1.0, "semantic", "mean"),
}
"""Shares of videos or frames are proportions, with intervals that keep a width near 0 and 1."""

GROUPS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (100, ("human_action",)),
    (100, ("temporal_style",)),
    (93, ("overall_consistency", "aesthetic_quality", "imaging_quality")),
    (90, ("appearance_style",)),
    (86, ("scene", "background_consistency")),
    (85, ("color",)),
    (84, ("spatial_relationship",)),
    (82, ("multiple_objects",)),
    (79, ("object_class",)),
    (75, ("temporal_flickering",)),
    (72, ("subject_consistency", "dynamic_degree", "motion_smoothness")),
)
"""Number of prompts and dimensions of each group; 946 prompts in all."""

NAMES = tuple(DIMENSIONS)
_LOW, _HIGH, _WEIGHT = np.array([(d.low, d.high, d.weight) for d in DIMENSIONS.values()]).T
_SHARES: Mapping[str, Floats] = {
    part: np.where([d.part == part for d in DIMENSIONS.values()], _WEIGHT, 0.0)
    for part in ("quality", "semantic")
}


def totals(raw: Floats) -> dict[str, Floats]:
    """Return Quality, Semantic and Total of raw dimensions; NaN where a dimension is NaN.

    Quality = sum w norm / 6.5, Semantic = sum w norm / 9, Total = (4 Quality + Semantic) / 5.

    Args:
        raw: (..., 16) in the order of `DIMENSIONS`.
    """
    norm = (raw - _LOW) / (_HIGH - _LOW)
    parts = {
        name: np.where(share > 0, norm, 0.0) @ share / share.sum()
        for name, share in _SHARES.items()
    }
    return {"total": (4 * parts["quality"] + parts["semantic"]) / 5, **parts}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """How much of a dimension was scored: VBench drops videos without the object, silently."""

    prompts: int
    prompts_planned: int
    videos: float
    videos_planned: float


@dataclass(frozen=True, kw_only=True, slots=True)
class VBench:
    """All numbers of one model; the Total never comes without the dynamic degree.

    Args:
        total: Total; a nearly static video scores high, so read it beside the next one.
        dynamic_degree: Share of videos that move.
        quality: Weighted mean of seven normalised dimensions.
        semantic: Mean of nine.
        dimensions: All sixteen, raw.
        scored: What each dimension rests on.
    """

    total: Estimate
    dynamic_degree: Estimate
    quality: Estimate
    semantic: Estimate
    dimensions: Mapping[str, Estimate]
    scored: Mapping[str, Scored]


@dataclass(frozen=True, kw_only=True, slots=True)
class VBenchComparison:
    """Student minus teacher of the same numbers, on the prompts that both have scores for."""

    total: Comparison
    dynamic_degree: Comparison
    quality: Comparison
    semantic: Comparison
    dimensions: Mapping[str, Comparison]


def _component(clusters: Clusters, name: str) -> Clusters:
    """Keep one dimension and the prompts that it was scored for."""
    column = [NAMES.index(name)]
    rows = clusters.denominator[:, column[0]] > 0
    return Clusters(
        numerator=clusters.numerator[rows][:, column],
        denominator=clusters.denominator[rows][:, column],
        strata=clusters.strata[rows],
        within=None if clusters.within is None else clusters.within[rows][:, column],
    )


def as_mean(clusters: Clusters, name: str) -> Clusters:
    """Write a total as a mean of component ratios, so that all that holds for V holds for it.

    The total is affine in the raw dimensions, sum_c (a_c R_c + b_c): with C components each
    numerator becomes C (a_c numerator + b_c denominator).

    Args:
        clusters: Sums of all 16 dimensions.
        name: One of `TOTALS`.
    """
    count = len(NAMES)
    slope = np.array([totals(row)[name] for row in np.eye(count)]) - totals(np.zeros(count))[name]
    top = slope * (clusters.numerator - _LOW * clusters.denominator)
    used = slope != 0
    return Clusters(
        numerator=used.sum() * top[:, used],
        denominator=clusters.denominator[:, used],
        strata=clusters.strata,
    )


def _absent(clusters: Clusters, name: str) -> str | None:
    """Name the dimensions that a total lacks, or return None."""
    gone = clusters.denominator.sum(0) == 0
    needed = [n for n, d in DIMENSIONS.items() if name in ("total", d.part)]
    missing = [n for n in needed if gone[NAMES.index(n)]]
    return f"no {name}: nothing scored in {', '.join(missing)}" if missing else None


def _check(clusters: Clusters) -> None:
    if clusters.numerator.shape[1] != len(NAMES):
        raise ValueError(
            f"expected {len(NAMES)} components (one for each dimension), "
            f"got {clusters.numerator.shape[1]}"
        )


def estimate_vbench(clusters: Clusters, planned: Floats, *, num_replicates: int = 2000) -> VBench:
    """Estimate every dimension and total with a 95 % interval.

    Args:
        clusters: (n, 16) sums per prompt; strata are the groups.
        planned: (n, 16) what the denominators would be if every planned video had been scored.
        num_replicates: Draws of the joint bootstrap behind the totals.
    """
    _check(clusters)
    with np.errstate(invalid="ignore"):
        draws = totals(replicate_ratios([clusters], num_replicates=num_replicates)[0])
        values = totals(component_ratios(clusters))
    found = {name: _total(clusters, name, float(values[name]), draws[name]) for name in TOTALS}
    dimensions = {
        name: estimate(_component(clusters, name), kind=dimension.kind)
        for name, dimension in DIMENSIONS.items()
    }
    return VBench(
        **found,
        dynamic_degree=dimensions["dynamic_degree"],
        dimensions=dimensions,
        scored={name: _scored(clusters, planned, i) for i, name in enumerate(NAMES)},
    )


def _total(clusters: Clusters, name: str, value: float, draws: Floats) -> Estimate:
    absent = _absent(clusters, name)
    if absent is not None:
        return Estimate(value=NAN, se=NAN, low=NAN, high=NAN, method=absent)
    low, high = np.quantile(draws, TAILS)
    method = f"joint bootstrap of prompts within groups, {len(draws)} draws, percentile"
    return Estimate(
        value=value, se=float(draws.std(ddof=1)), low=float(low), high=float(high), method=method
    )


def _scored(clusters: Clusters, planned: Floats, column: int) -> Scored:
    own, all_ = clusters.denominator[:, column], planned[:, column]
    return Scored(
        prompts=int((own > 0).sum()),
        prompts_planned=int((all_ > 0).sum()),
        videos=float(own.sum()),
        videos_planned=float(all_.sum()),
    )


def _common(student: Clusters, teacher: Clusters) -> tuple[Clusters, Clusters]:
    """Blank what only one of the two has scores for: a prompt dropped for one is no pair."""
    both = (student.denominator > 0) & (teacher.denominator > 0)

    def masked(clusters: Clusters) -> Clusters:
        return replace(
            clusters,
            numerator=np.where(both, clusters.numerator, 0.0),
            denominator=np.where(both, clusters.denominator, 0.0),
        )

    return masked(student), masked(teacher)


def compare_vbench(
    student: Clusters, teacher: Clusters, *, num_replicates: int = 2000
) -> VBenchComparison:
    """Compare two models on the same prompts, every number from the same draws.

    Args:
        student: (n, 16) sums per prompt of the model in question.
        teacher: Sums of the same prompts in the same order.
        num_replicates: Draws of the joint bootstrap behind the totals.
    """
    _check(student)
    _check(teacher)
    a, b = _common(student, teacher)
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second = map(totals, replicate_ratios([a, b], num_replicates=num_replicates))
        values = totals(component_ratios(a)), totals(component_ratios(b))
    found = {
        name: _total_comparison(
            (a, b), name, (values[0][name], values[1][name]), (first[name], second[name])
        )
        for name in TOTALS
    }
    dimensions = {
        name: compare(_component(a, name), _component(b, name), kind=dimension.kind)
        for name, dimension in DIMENSIONS.items()
    }
    return VBenchComparison(
        **found, dynamic_degree=dimensions["dynamic_degree"], dimensions=dimensions
    )


def _total_comparison(
    pair: tuple[Clusters, Clusters],
    name: str,
    values: tuple[Floats, Floats],
    draws: tuple[Floats, Floats],
) -> Comparison:
    absent = _absent(pair[0], name)
    if absent is not None:
        nothing = dict.fromkeys((f for f in Comparison.__dataclass_fields__ if f != "method"), NAN)
        return Comparison(**nothing, method=absent)
    low, high = np.quantile(draws[0] - draws[1], TAILS)
    ratio_low, ratio_high = np.quantile(draws[0] / draws[1], TAILS)
    n = len(pair[0].strata)
    df = float(n - len(np.unique(pair[0].strata)))
    return Comparison(
        difference=float(values[0] - values[1]),
        difference_low=float(low),
        difference_high=float(high),
        p=sign_flip_p(contributions(as_mean(pair[0], name), as_mean(pair[1], name))),
        p_least=least_p(n),
        detectable=detectable_difference(float(high - low) / 2, df),
        ratio=float(values[0] / values[1]),
        ratio_low=float(ratio_low),
        ratio_high=float(ratio_high),
        method="joint bootstrap of prompts within groups, paired, sign-flip test by prompt",
    )
