"""Methods, not checkpoints: intervals over prompts and over training seeds at once.

Legend: n prompts, K training seeds of a method, V the number (see ``clusters``).

Every checkpoint is measured on the same prompts, so prompts and the training seeds of a method are
crossed, as cases and readers are in studies of diagnostic imaging (Dorfman, Berbaum & Metz 1992;
Hillis 2007); seeds of different methods are independent. With V_s of seed s and its influences
u_si, method a against method b (or against a fixed checkpoint, which has no seed term):

    D    = mean_s V_s(a) - mean_s V_s(b)
    T_m  = var_s V_s / K_m                       seeds of method m: training, and prompts by seed
    P    = variance over prompts of the mean influences' difference, as of any paired difference
    I_m  = the part of P that is prompts by seed, from u_si - mean_s u_si; it is in T_m already
    Var  = T_a + T_b + max(P - I_a - I_b, 0)
    df   = Var^2 / (T_a^2 / (K_a - 1) + T_b^2 / (K_b - 1) + max(..)^2 / (n - strata))

D -+ t_(df, 0.975) sqrt(Var). The degrees of freedom are Satterthwaite's, with Hillis's choice of
leaving out the uncertainty of what is subtracted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from rcm_bench.statistics.clusters import Clusters, Floats, influence, value_of
from rcm_bench.statistics.intervals import LEVEL, MIN_PROMPTS

NAN = float("nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class SeededComparison:
    """One method minus another, for new prompts and new training seeds.

    Args:
        value: Mean of the first over its training seeds.
        reference: Mean of the second.
        difference: Their difference.
        low: Lower end of its 95 % interval; NaN where there is none.
        high: Upper end.
        p: Two-sided p-value of Student's t.
        df: Degrees of freedom.
        seed_share: Share of the variance that comes from training seeds.
        scope: What the interval speaks of, or why there is none.
    """

    value: float
    reference: float
    difference: float
    low: float
    high: float
    p: float
    df: float
    seed_share: float
    scope: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """A method's mean, its seeds' variance of the mean, its influences and their interaction."""

    mean: float
    seeds: float
    df: int
    influence: Floats
    interaction: float


def compare_methods(
    first: Sequence[Clusters], second: Sequence[Clusters], *, fixed: bool = False
) -> SeededComparison:
    """Compare two methods by their checkpoints, one for each training seed.

    A method with one training seed gives an interval over prompts only, and says so: nothing is
    assumed about the seeds that were not trained.

    Args:
        first: Sums of the same prompts in the same order for each checkpoint of the first method.
        second: The same of the second.
        fixed: Whether the second is one given checkpoint, such as the teacher, that is not trained
            anew.

    Raises:
        ValueError: The checkpoints do not hold the same prompts, or there are none.
    """
    if not first or not second or (fixed and len(second) != 1):
        raise ValueError("expected checkpoints of both methods, and one where it is fixed")
    strata = first[0].strata
    if any(not np.array_equal(each.strata, strata) for each in (*first, *second)):
        raise ValueError("all checkpoints must hold the same prompts in the same order")
    one, two = _parts(first), _parts(second)
    difference = one.mean - two.mean
    n, num_strata = len(strata), len(np.unique(strata))
    sizes = np.unique(strata, return_counts=True)[1]
    bare = SeededComparison(
        value=one.mean,
        reference=two.mean,
        difference=difference,
        low=NAN,
        high=NAN,
        p=NAN,
        df=NAN,
        seed_share=NAN,
        scope="",
    )
    if not np.isfinite(difference):
        return _without(bare, "no interval: nothing is scored in a part of the number")
    if n < MIN_PROMPTS or sizes.min() < 2:
        return _without(bare, f"no interval: {n} prompts, at least {MIN_PROMPTS} are needed")
    seeded = len(first) > 1 and (fixed or len(second) > 1)
    paired = _variance(one.influence - two.influence, strata)
    over_seeds = [(one.seeds, one.df)] + ([] if fixed else [(two.seeds, two.df)])
    if not seeded:
        over_seeds = []
    else:
        paired = max(0.0, paired - one.interaction - two.interaction)
    total = paired + sum(part for part, _ in over_seeds)
    if not total > 0:
        return _without(bare, "no interval: all prompts and seeds differ by the same amount")
    rest = sum(part**2 / df for part, df in over_seeds) + paired**2 / (n - num_strata)
    df, se = total**2 / rest, float(np.sqrt(total))
    half = float(special.stdtrit(df, 0.5 + LEVEL / 2)) * se
    scope = "new prompts and new training seeds" if seeded else "new prompts, these checkpoints"
    return SeededComparison(
        value=one.mean,
        reference=two.mean,
        difference=difference,
        low=difference - half,
        high=difference + half,
        p=float(2 * special.stdtr(df, -abs(difference) / se)),
        df=float(df),
        seed_share=sum(part for part, _ in over_seeds) / total if seeded else NAN,
        scope=scope,
    )


def _without(bare: SeededComparison, why: str) -> SeededComparison:
    return replace(bare, scope=why)


def _parts(checkpoints: Sequence[Clusters]) -> _Parts:
    values = np.array([value_of(each) for each in checkpoints])
    # A component without anything scored makes the value NaN, which is then said.
    with np.errstate(divide="ignore", invalid="ignore"):
        influences = np.stack([influence(each) for each in checkpoints])
    mean, k = influences.mean(0), len(checkpoints)
    if k == 1:
        return _Parts(mean=float(values[0]), seeds=0.0, df=0, influence=mean, interaction=0.0)
    strata = checkpoints[0].strata
    # K / (K - 1) for the mean that was taken out, over K for the mean's variance.
    residual = sum(_variance(own - mean, strata) for own in influences) / (k * (k - 1))
    return _Parts(
        mean=float(values.mean()),
        seeds=float(values.var(ddof=1)) / k,
        df=k - 1,
        influence=mean,
        interaction=residual,
    )


def _variance(contributions: Floats, strata: np.ndarray) -> float:
    """Variance of a sum of contributions (n,) of prompts drawn independently within strata."""
    total = 0.0
    for stratum in np.unique(strata):
        own = contributions[strata == stratum]
        n = len(own)
        total += float(np.square(own - own.mean()).sum()) * n / (n - 1) if n > 1 else 0.0
    return total
