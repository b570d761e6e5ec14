"""What the intervals over prompts and training seeds cover, by simulation.

``python -m rcm_bench.statistics_coverage.training_seeds [OUT]`` writes ``coverage.csv``.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rcm_bench.statistics.clusters import Clusters
from rcm_bench.statistics.intervals import wilson
from rcm_bench.statistics.training_seeds import compare_methods

SEED = 20_261_124
TRIALS = 4000
GALLERY = Path("reports/gallery/methods")


class Design(NamedTuple):
    """Two methods whose expected accuracies are known.

    Attributes:
        name: Name for tables.
        prompts: Prompts of each of six strata.
        samples: Samples of each prompt.
        seeds: Training seeds of each method.
        between: Standard deviation over training seeds of the log-odds of all prompts.
        crossed: Standard deviation of what one seed adds to one prompt, in log-odds.
        prompt: Standard deviation over prompts, in log-odds.
        fixed: Whether the second method is one fixed checkpoint.
    """

    name: str
    prompts: int = 32
    samples: int = 4
    seeds: int = 3
    between: float = 0.2
    crossed: float = 0.5
    prompt: float = 1.5
    fixed: bool = False


DESIGNS = (
    Design("no difference between seeds", between=0.0, crossed=0.0),
    Design("seeds differ on single prompts only", between=0.0),
    Design("seeds differ a little", between=0.1),
    Design("seeds differ"),
    Design("seeds differ a lot", between=0.6),
    Design("seeds differ, against a fixed teacher", fixed=True),
    Design("seeds differ, 5 seeds", seeds=5),
    Design("seeds differ, 10 prompts a task", prompts=10),
)


def simulate(design: Design, trials: int, rng: np.random.Generator) -> Iterator[tuple[bool, bool]]:
    """Yield whether the interval, and one over prompts alone, hold the true difference of 0.

    Both methods have one law, so that the difference of their expected accuracies is 0 exactly; of
    the fixed teacher that is so only on average over its prompts, where it has the mean law of a
    method's seeds drawn anew for every prompt.

    Args:
        design: What is simulated.
        trials: How often.
        rng: Source of randomness.
    """
    n = 6 * design.prompts
    strata = np.repeat(np.arange(6), design.prompts)
    for _ in range(trials):
        ease = 0.5 + rng.normal(0, design.prompt, n)
        sides = [_method(design, design.seeds, ease, strata, rng)]
        if design.fixed:
            sides.append([_teacher(design, ease, strata, rng)])
        else:
            sides.append(_method(design, design.seeds, ease, strata, rng))
        found = compare_methods(sides[0], sides[1], fixed=design.fixed)
        alone = compare_methods([_merged(sides[0])], [_merged(sides[1])])
        yield found.low <= 0 <= found.high, alone.low <= 0 <= alone.high


def _method(
    design: Design, seeds: int, ease: np.ndarray, strata: np.ndarray, rng: np.random.Generator
) -> list[Clusters]:
    found = []
    for _ in range(seeds):
        odds = ease + rng.normal(0, design.between) + rng.normal(0, design.crossed, len(ease))
        found.append(_drawn(odds, design.samples, strata, rng))
    return found


def _teacher(
    design: Design, ease: np.ndarray, strata: np.ndarray, rng: np.random.Generator
) -> Clusters:
    spread = float(np.hypot(design.between, design.crossed))
    return _drawn(ease + rng.normal(0, spread, len(ease)), design.samples, strata, rng)


def _drawn(
    odds: np.ndarray, samples: int, strata: np.ndarray, rng: np.random.Generator
) -> Clusters:
    right = rng.binomial(samples, 1 / (1 + np.exp(-odds))).astype(np.float64)
    return Clusters(
        numerator=right[:, None],
        denominator=np.full((len(right), 1), float(samples)),
        strata=strata.astype(np.int64),
    )


def _merged(checkpoints: list[Clusters]) -> Clusters:
    """Pool the samples of all checkpoints, as if they were of one."""
    return Clusters(
        numerator=np.sum([c.numerator for c in checkpoints], axis=0),
        denominator=np.sum([c.denominator for c in checkpoints], axis=0),
        strata=checkpoints[0].strata,
    )


def table(trials: int = TRIALS, seed: int = SEED) -> list[dict[str, object]]:
    """Return one row for each design: coverage of both intervals, with Wilson's interval."""
    rows: list[dict[str, object]] = []
    for design in DESIGNS:
        held = np.array(list(simulate(design, trials, np.random.default_rng(seed))))
        row: dict[str, object] = {"design": design.name, "seeds": design.seeds, "trials": trials}
        for name, own in (("coverage", held[:, 0]), ("prompts_only", held[:, 1])):
            low, high = wilson(float(own.mean()), trials, 1.959964)
            row |= {name: float(own.mean()), f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return rows


def main(out: Path) -> None:
    """Simulate every design and write ``coverage.csv``."""
    import pandas as pd

    out.mkdir(parents=True, exist_ok=True)
    found = pd.DataFrame(table())
    found.to_csv(out / "coverage.csv", index=False, float_format="%.4f", lineterminator="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else GALLERY)
