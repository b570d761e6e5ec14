"""Prompt sums, the estimator built on them, and its linearisation.

Legend: n prompts, C components (GenEval's tasks, diversity's attributes), S strata.
Every number of the harness is a mean over components of ratios of sums over prompts,

    V = (1/C) sum_c R_c,    R_c = sum_i numerator_ic / sum_i denominator_ic,

because missing samples make denominators random. With equal denominators R_c is the mean of
prompt means.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Population = Literal["new prompts", "same prompts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clusters:
    """Sums per prompt of one metric of one model.

    Args:
        numerator: (n, C) sum of what is measured over the prompt's samples (or pairs of them).
        denominator: (n, C) what the numerator is divided by; 0 where a component does not concern
            the prompt or nothing was scored.
        strata: (n,) sampling stratum of each prompt, integers from 0; prompts of different strata
            were drawn independently.
        within: (n, C) variance of the numerator over new seeds for the same prompt, NaN where one
            seed cannot tell; None where the metric does not know it.
        seeds: (n,) scored samples of each prompt; None where the denominator counts them.
    """

    numerator: Floats
    denominator: Floats
    strata: NDArray[np.int64]
    within: Floats | None = None
    seeds: Floats | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other."""
        if self.numerator.ndim != 2 or self.denominator.shape != self.numerator.shape:
            raise ValueError(
                f"denominator must have numerator's shape (n, C) {self.numerator.shape}, "
                f"got {self.denominator.shape}"
            )
        if self.strata.shape != self.numerator.shape[:1]:
            raise ValueError(
                f"strata must have shape {self.numerator.shape[:1]}, got {self.strata.shape}"
            )
        if not (np.isfinite(self.numerator).all() and (self.denominator >= 0).all()):
            raise ValueError("numerator must be finite and denominator non-negative")

    def take(self, rows: NDArray[np.bool_]) -> "Clusters":
        """Keep some prompts."""
        return Clusters(
            numerator=self.numerator[rows],
            denominator=self.denominator[rows],
            strata=self.strata[rows],
            within=None if self.within is None else self.within[rows],
            seeds=None if self.seeds is None else self.seeds[rows],
        )

    def num_seeds(self) -> Floats:
        """Return the scored samples of each prompt, shape (n,)."""
        counted: Floats = self.denominator.max(1) if self.seeds is None else self.seeds
        return counted


def component_ratios(clusters: Clusters) -> Floats:
    """Return R_c, shape (C,); NaN for a component without denominator."""
    total = clusters.denominator.sum(0)
    top = clusters.numerator.sum(0)
    ratios: Floats = np.divide(top, total, out=np.full(total.shape, np.nan), where=total > 0)
    return ratios


def value_of(clusters: Clusters) -> float:
    """Return V; NaN when a component is empty, because a total over the rest is another number."""
    return float(component_ratios(clusters).mean())


def influence(clusters: Clusters) -> Floats:
    """Return each prompt's first-order contribution to the error of V, shape (n,).

    u_i = (1/C) sum_c (numerator_ic - R_c denominator_ic) / sum_j denominator_jc  (Taylor
    linearisation of a ratio; Cochran, Sampling Techniques, 1977, section 6.4).
    """
    ratios = component_ratios(clusters)
    residual = clusters.numerator - ratios * clusters.denominator
    result: Floats = (residual / clusters.denominator.sum(0)).mean(1)
    return result


def shares(clusters: Clusters) -> Floats:
    """Return each prompt's weight in V, shape (n,); they sum to 1."""
    result: Floats = (clusters.denominator / clusters.denominator.sum(0)).mean(1)
    return result
