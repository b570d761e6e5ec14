"""Intervals for VBench's dimensions, Quality, Semantic and Total from one table of prompt sums.

Three of the eleven groups of prompts feed two or three dimensions each, so dimensions are not
independent: prompts are resampled within their group, every dimension is recomputed from the same
draw, and the totals from those.

Legend: n prompts, 16 components in the order of `DIMENSIONS`, strata are the groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rcm_bench.statistics.bootstrap import replicate_ratios
from rcm_bench.statistics.clusters import Clusters, Floats, component_ratios
from rcm_bench.statistics.intervals import LEVEL, Estimate, estimate
from rcm_bench.statistics.paired import Comparison, compare, contributions, detectable_difference
from rcm_bench.statistics.sign_flip import least_p, sign_flip_p
from rcm_bench.statistics.vbench_dimensions import DIMENSIONS, LOW, NAMES, TOTALS, totals

NAN = float("nan")


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


def interval(value: float, draws: Floats, strata: NDArray[np.int64]) -> tuple[float, float]:
    """Return value -+ t se, se the standard deviation of the joint bootstrap's replicates.

    Percentiles of the same replicates cover half a point less (reports/gallery/coverage).

    Args:
        value: The number.
        draws: (num_replicates,) replicates of it.
        strata: (n,) group of each prompt; n minus the groups are the degrees of freedom.
    """
    df = len(strata) - len(np.unique(strata))
    half = float(special.stdtrit(df, 0.5 + LEVEL / 2) * draws.std(ddof=1))
    return value - half, value + half


def component(clusters: Clusters, name: str) -> Clusters:
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
    top = slope * (clusters.numerator - LOW * clusters.denominator)
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
        name: estimate(component(clusters, name), kind=dimension.kind)
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
    low, high = interval(value, draws, clusters.strata)
    method = f"Student t, standard error of {len(draws)} joint draws of prompts within groups"
    return Estimate(value=value, se=float(draws.std(ddof=1)), low=low, high=high, method=method)


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
        name: compare(component(a, name), component(b, name), kind=dimension.kind)
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
    difference, ratio = float(values[0] - values[1]), float(values[0] / values[1])
    low, high = interval(difference, draws[0] - draws[1], pair[0].strata)
    ratio_low, ratio_high = interval(ratio, draws[0] / draws[1], pair[0].strata)
    n = len(pair[0].strata)
    df = float(n - len(np.unique(pair[0].strata)))
    return Comparison(
        difference=difference,
        difference_low=low,
        difference_high=high,
        p=sign_flip_p(contributions(as_mean(pair[0], name), as_mean(pair[1], name))),
        p_least=least_p(n),
        detectable=detectable_difference((high - low) / 2, df),
        ratio=ratio,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        method="joint bootstrap of prompts within groups, paired; sign-flip test by prompt",
    )
