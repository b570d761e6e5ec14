"""Simulated VBench: 946 prompts in 11 groups, 5 videos each, dimensions of a group correlated.

Means are in the range of published models; what varies between prompts and videos is made up, and
skewed towards the ceiling where VBench is. Colour drops videos, more where the model is worse.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from rcm_bench.statistics.bootstrap import replicate_ratios
from rcm_bench.statistics.clusters import Clusters, component_ratios
from rcm_bench.statistics.intervals import estimate
from rcm_bench.statistics.paired import correlated, mover_difference
from rcm_bench.statistics.vbench_dimensions import DIMENSIONS, GROUPS, NAMES, TOTALS, totals
from rcm_bench.statistics.vbench_total import component, interval
from rcm_bench.statistics_coverage.designs import LEVELS
from rcm_bench.statistics_coverage.measure import OURS, Interval, Row, measured

Floats = NDArray[np.float64]
VIDEOS = 5
FRAMES = 16
CEILING = (
    "subject_consistency",
    "background_consistency",
    "temporal_flickering",
    "motion_smoothness",
)
BINARY = ("dynamic_degree", "human_action")
TEACHER = (
    *(0.95, 0.97, 0.99, 0.98, 0.65, 0.62, 0.66),
    *(0.87, 0.74, 0.96, 0.89, 0.75, 0.45, 0.21, 0.24, 0.26),
)
STUDENT = (
    *(0.96, 0.96, 0.99, 0.985, 0.55, 0.64, 0.67),
    *(0.84, 0.70, 0.95, 0.87, 0.72, 0.42, 0.21, 0.24, 0.255),
)
"""Raw dimensions in the order of `DIMENSIONS`; the student moves less."""
CORRELATION_WITHIN_GROUP = 0.5
CORRELATION_OF_MODELS = 0.7
ICC = 0.5
GROUP_SIZES = [number for number, _ in GROUPS]
STRATA = np.repeat(np.arange(len(GROUPS)), GROUP_SIZES)


def _prompt_law(name: str, mean: float) -> Floats:
    """Return the expected value of 4,001 equally likely kinds of prompts, rising."""
    middles = (np.arange(LEVELS) + 0.5) / LEVELS
    law: Floats
    if DIMENSIONS[name].kind == "proportion":
        precision = 1 / ICC - 1
        law = stats.beta.ppf(middles, mean * precision, (1 - mean) * precision)
    elif name in CEILING:
        law = 1 - (1 - mean) * stats.gamma.ppf(middles[::-1], 2, scale=0.5)
    else:
        law = mean * (1 + 0.25 * special.ndtri(middles))
    return law


def _kept(levels: NDArray[np.int64] | Floats) -> Floats:
    """Return the chance that a video keeps its object: 0.6 of the worst prompts, 1 of the best."""
    kept: Floats = 0.6 + 0.4 * (np.asarray(levels, dtype=np.float64) + 0.5) / LEVELS
    return kept


class Law:
    """The law of one model's prompts; ``truth`` holds its exact raw dimensions, (16,)."""

    def __init__(self, means: tuple[float, ...]) -> None:
        """Tabulate the law of each dimension."""
        self.tables = np.array([_prompt_law(n, m) for n, m in zip(NAMES, means, strict=True)])
        self.truth = self.tables.mean(1)
        color = NAMES.index("color")
        kept = _kept(np.arange(LEVELS))
        self.truth[color] = (self.tables[color] * kept).mean() / kept.mean()

    def sums(
        self, levels: NDArray[np.int64], name: str, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Draw the sum over videos, and how many were scored, for prompts of given levels."""
        expected = self.tables[NAMES.index(name)][levels]
        videos = np.full(len(levels), VIDEOS)
        if name == "color":
            videos = rng.binomial(VIDEOS, _kept(levels))
        if name in BINARY:
            top = rng.binomial(VIDEOS, expected).astype(np.float64)
        elif DIMENSIONS[name].kind == "proportion":
            top = _frames(expected, videos, rng)
        elif name in CEILING:
            top = VIDEOS - (1 - expected) * rng.gamma(4 * VIDEOS, 0.25, len(levels))
        else:
            top = VIDEOS * expected + rng.normal(0, 0.03 * np.sqrt(VIDEOS), len(levels))
        return top, videos.astype(np.float64)


def _frames(expected: Floats, videos: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Sum the share of right frames over the videos of each prompt."""
    shape = np.clip(expected, 1e-9, 1 - 1e-9)[:, None]
    chance = rng.beta(2 * shape, 2 * (1 - shape), (len(expected), VIDEOS))
    frames = rng.binomial(FRAMES, chance) / FRAMES
    there = np.arange(VIDEOS) < videos[:, None]
    summed: Floats = (frames * there).sum(1)
    return summed


def draw(laws: tuple[Law, Law], rng: np.random.Generator) -> tuple[Clusters, Clusters]:
    """Draw one run of student and teacher."""
    n = len(STRATA)
    tops, bottoms = np.zeros((2, n, len(NAMES))), np.zeros((2, n, len(NAMES)))
    between = np.linalg.cholesky(
        np.array([[1.0, CORRELATION_OF_MODELS], [CORRELATION_OF_MODELS, 1.0]])
    )
    for group, (number, names) in enumerate(GROUPS):
        rows = group == STRATA
        shared = rng.standard_normal((2, number, 1))
        own = rng.standard_normal((2, number, len(names)))
        rho = CORRELATION_WITHIN_GROUP
        latent = np.tensordot(between, np.sqrt(rho) * shared + np.sqrt(1 - rho) * own, 1)
        levels = np.minimum((special.ndtr(latent) * LEVELS).astype(np.int64), LEVELS - 1)
        for model, law in enumerate(laws):
            for position, name in enumerate(names):
                column = NAMES.index(name)
                found = law.sums(levels[model, :, position], name, rng)
                tops[model, rows, column], bottoms[model, rows, column] = found
    student, teacher = (
        Clusters(numerator=top, denominator=bottom, strata=STRATA)
        for top, bottom in zip(tops, bottoms, strict=True)
    )
    return student, teacher


def _intervals(
    pair: tuple[Clusters, Clusters],
) -> Iterator[tuple[tuple[str, str, str], Interval]]:
    """Yield (number, name, method) and the interval of one run."""
    student, teacher = pair
    draws = replicate_ratios(pair, num_replicates=500)
    first, second = totals(draws[0]), totals(draws[1])
    own, other = (totals(component_ratios(one)) for one in pair)
    joint = f"{OURS}: joint bootstrap"
    for name in TOTALS:
        a, b = float(own[name]), float(other[name])
        yield (name, "value", joint), interval(a, first[name], STRATA)
        yield (name, "difference", joint), interval(a - b, first[name] - second[name], STRATA)
        yield (name, "ratio", joint), interval(a / b, first[name] / second[name], STRATA)
    apart = np.stack([np.roll(draws[0][:, i], 7 * i) for i in range(len(NAMES))], axis=1)
    independent = "bootstrap, dimensions taken for independent"
    found = interval(float(own["total"]), totals(apart)["total"], STRATA)
    yield ("total", "value", independent), found
    for name, dimension in DIMENSIONS.items():
        one, two = component(student, name), component(teacher, name)
        single = estimate(one, kind=dimension.kind)
        method = f"{OURS}: {'Wilson, clustered' if dimension.kind == 'proportion' else 'Student t'}"
        yield (name, "value", method), (single.low, single.high)
        if name != "color":
            mover = mover_difference(*correlated(one, two, dimension.kind, "new prompts"))
            yield (name, "difference", f"{OURS}: MOVER"), mover


def rows(label: str, means: tuple[float, ...], runs: int, rng: np.random.Generator) -> list[Row]:
    """Measure the coverage of all dimensions and totals, single and paired with the teacher."""
    laws = (Law(means), Law(TEACHER))
    raw = [dict(zip(NAMES, law.truth, strict=True)) for law in laws]
    true = [{**one, **totals(law.truth)} for one, law in zip(raw, laws, strict=True)]
    found: dict[tuple[str, str, str], list[Interval]] = {}
    for _ in range(runs):
        for key, ends in _intervals(draw(laws, rng)):
            found.setdefault(key, []).append(ends)
    made = []
    for (name, number, method), intervals in found.items():
        a, b = float(true[0][name]), float(true[1][name])
        truth = {"value": a, "difference": a - b, "ratio": a / b}[number]
        sizes = GROUP_SIZES if name in TOTALS else (_prompts_of(name),)
        what = (f"VBench {label}: {name}", number, method)
        made.append(measured(what, sizes, intervals, truth))
    return made


def _prompts_of(name: str) -> int:
    return next(number for number, names in GROUPS if name in names)
