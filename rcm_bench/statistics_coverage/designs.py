"""The designs that are simulated; the prior of the intervals was chosen with them in view.

``held_out`` draws others, which were not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from rcm_bench.statistics import Clusters

Floats = NDArray[np.float64]
SEEDS_PER_PROMPT = 4
LEVELS = 4001
GENEVAL_PROMPTS = (80, 99, 80, 94, 100, 100)
"""Single object, two objects, counting, colours, position, colour attribution: 553."""
PUBLISHED = {
    "SDXL": (0.98, 0.74, 0.39, 0.85, 0.15, 0.23),
    "Cosmos 2B": (0.995, 0.99, 0.73, 0.89, 0.65, 0.73),
    "rCM 2B, 4 steps": (0.995, 0.98, 0.73, 0.84, 0.58, 0.72),
    "near the ceiling": (0.99, 0.99, 0.97, 0.98, 0.96, 0.97),
}
"""GenEval accuracies as in rCM's Table 1 (arXiv 2510.08431; 0.995 where it prints 1.00), and one
row that no model has reached yet."""
ASSUMED_ICC = 0.6
ASSUMED_CORRELATION = 0.7
"""Of two images of a prompt, and of student and teacher over prompts: assumed for large models."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """A simulated benchmark of right and wrong images.

    Args:
        name: What it is like.
        shares: True accuracy of each task.
        reference: The teacher's.
        prompts: Prompts of each task.
        icc: Correlation of two images of one prompt, by task.
        correlation: Of the student's and the teacher's prompt probabilities, before the copula.
    """

    name: str
    shares: tuple[float, ...]
    reference: tuple[float, ...]
    prompts: tuple[int, ...]
    icc: tuple[float, ...] = ()
    correlation: float = ASSUMED_CORRELATION

    def correlations_within(self) -> tuple[float, ...]:
        """Return the correlation within prompts by task."""
        return self.icc or (ASSUMED_ICC,) * len(self.shares)

    def truths(self) -> tuple[float, float]:
        """Return the true mean accuracy of student and teacher, of the law that is drawn from."""
        icc = self.correlations_within()
        return (
            float(np.mean([law(p, rho).mean() for p, rho in zip(self.shares, icc, strict=True)])),
            float(
                np.mean([law(p, rho).mean() for p, rho in zip(self.reference, icc, strict=True)])
            ),
        )


@lru_cache(maxsize=256)
def law(share: float, icc: float) -> Floats:
    """Return the probabilities of 4,001 equally likely kinds of prompts, rising: beta quantiles."""
    precision = 1 / icc - 1
    middles = (np.arange(LEVELS) + 0.5) / LEVELS
    quantiles: Floats = stats.beta.ppf(middles, share * precision, (1 - share) * precision)
    return np.clip(quantiles, 0.0, 1.0)


def arranged(counts: NDArray[np.int64], strata: NDArray[np.int64]) -> Clusters:
    """Arrange right answers (n,) as sums per prompt; the tasks are the strata and components."""
    own = strata[:, None] == np.arange(strata.max() + 1)
    return Clusters(
        numerator=own * counts[:, None].astype(np.float64),
        denominator=own * float(SEEDS_PER_PROMPT),
        strata=strata,
    )


def simulate(
    design: Design, runs: int, rng: np.random.Generator, *, models: int = 2
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw right answers of the student and the teacher.

    Prompts have their own probabilities, beta distributed with the correlation within prompts; a
    prompt's two probabilities are joined by a Gaussian copula.

    Args:
        design: The design.
        runs: Number of simulated runs.
        rng: Source of randomness.
        models: 2, or 1 for the student alone.

    Returns:
        Counts (runs, models, n) and strata (n,).
    """
    strata = np.repeat(np.arange(len(design.prompts)), design.prompts)
    icc = design.correlations_within()
    laws = np.array(
        [
            [law(p, within) for p, within in zip(shares, icc, strict=True)]
            for shares in (design.shares, design.reference)[:models]
        ]
    )
    counts = np.empty((runs, models, len(strata)), dtype=np.int64)
    rho = design.correlation
    for start in range(0, runs, 100):
        block = counts[start : start + 100]
        normal = rng.standard_normal((len(block), models, len(strata)))
        if models == 2:
            normal[:, 1] = rho * normal[:, 0] + np.sqrt(1 - rho**2) * normal[:, 1]
        level = np.minimum((special.ndtr(normal) * LEVELS).astype(np.int64), LEVELS - 1)
        model = np.arange(models)[None, :, None]
        block[:] = rng.binomial(SEEDS_PER_PROMPT, laws[model, strata, level])
    return counts, strata


def again(design: Design, times: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw right answers of one model on the same prompts with new seeds, (times, n)."""
    strata = np.repeat(np.arange(len(design.prompts)), design.prompts)
    within = design.correlations_within()
    laws = np.array([law(p, icc) for p, icc in zip(design.shares, within, strict=True)])
    chance = laws[strata, rng.integers(0, LEVELS, len(strata))]
    return rng.binomial(SEEDS_PER_PROMPT, chance, size=(times, len(strata)))


def geneval(icc: Sequence[float], correlation: float, label: str) -> Iterator[Design]:
    """Yield GenEval's 553 prompts: the whole, and tasks alone."""
    pairs = (
        ("SDXL", "Cosmos 2B"),
        ("rCM 2B, 4 steps", "Cosmos 2B"),
        ("Cosmos 2B", "Cosmos 2B"),
        ("near the ceiling", "near the ceiling"),
    )
    for student, teacher in pairs:
        yield Design(
            name=f"GenEval, {student} against {teacher}, {label}",
            shares=PUBLISHED[student],
            reference=PUBLISHED[teacher],
            prompts=GENEVAL_PROMPTS,
            icc=tuple(icc),
            correlation=correlation,
        )
    for task, number in enumerate(GENEVAL_PROMPTS):
        yield Design(
            name=f"GenEval, task {task + 1} of rCM 2B against Cosmos 2B, {label}",
            shares=PUBLISHED["rCM 2B, 4 steps"][task : task + 1],
            reference=PUBLISHED["Cosmos 2B"][task : task + 1],
            prompts=(number,),
            icc=tuple(icc)[task : task + 1],
            correlation=correlation,
        )


def single_task(icc: float, correlation: float, label: str) -> Iterator[Design]:
    """Yield one task of few prompts, far from the ends and near them."""
    for prompts in (10, 20, 40, 60):
        for student, teacher in ((0.3, 0.6), (0.5, 0.5), (0.7, 0.8), (0.9, 0.9), (0.95, 0.97)):
            yield Design(
                name=f"one task, {label}",
                shares=(student,),
                reference=(teacher,),
                prompts=(prompts,),
                icc=(icc,),
                correlation=correlation,
            )
