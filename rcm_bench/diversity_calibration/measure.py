"""Every measure on every generator, and its rank correlation with the truth.

Legend: G generators, P prompts, N samples of each prompt, B bootstrap draws.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rcm_bench.diversity_calibration.generators import Collapse, coverage, draw
from rcm_bench.diversity_calibration.networks import Network
from rcm_bench.statistics import diversity
from rcm_bench.statistics.clusters import Clusters
from rcm_bench.statistics.coverage import prdc
from rcm_bench.statistics.paired import compare

if TYPE_CHECKING:
    from rcm_distill.lab.grammar import Prompt

SAMPLES = 8
BOOTSTRAP = 1000
MODES_SEED, TEACHER_SEED, SEED = 11, 12, 13
NAN = float("nan")
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One measure of one generator.

    Args:
        features: Kind of features.
        measure: pairwise, vendi, coverage or recall.
        generator: The collapse.
        kind: Its kind.
        dose: Its dose.
        truth: Share of the world's law that it covers.
        value: The measure.
        ratio: The measure over the teacher's; NaN where the teacher has none.
        ratio_low: Lower end of its 95 % interval over prompts.
        ratio_high: Upper end.
    """

    features: str
    measure: str
    generator: str
    kind: str
    dose: float
    truth: float
    value: float
    ratio: float
    ratio_low: float
    ratio_high: float


class Rank(NamedTuple):
    """Rank correlation of one measure with the truth over the generators.

    Attributes:
        features: Kind of features.
        measure: The measure.
        group: Which generators: all, or one kind.
        spearman: Spearman's correlation.
        low: Lower end of its 95 % bootstrap interval over prompts.
        high: Upper end.
        generators: G.
    """

    features: str
    measure: str
    group: str
    spearman: float
    low: float
    high: float
    generators: int


class Images(NamedTuple):
    """What the generators drew, (P N, S, S, 3) each, and the law's share that each covers."""

    teacher: NDArray[np.uint8]
    drawn: list[NDArray[np.uint8]]
    truth: list[float]


def draw_all(prompts: "Sequence[Prompt]", collapses: Sequence[Collapse]) -> Images:
    """Draw the samples of the teacher and of every generator.

    Args:
        prompts: P prompts.
        collapses: The generators.
    """
    from rcm_distill.lab.damage import Damage
    from rcm_distill.lab.render import render, to_uint8

    rng = np.random.default_rng(SEED)
    law = Collapse("none", 0.0)
    teacher = to_uint8(render(draw(prompts, SAMPLES, law, MODES_SEED, TEACHER_SEED)))
    drawn, truth = [], []
    for place, collapse in enumerate(collapses):
        scenes = draw(prompts, SAMPLES, collapse, MODES_SEED, SEED + place)
        drawn.append(Damage(noise=collapse.noise)(to_uint8(render(scenes)), rng))
        truth.append(coverage(prompts, collapse, MODES_SEED, SEED))
    return Images(teacher, drawn, truth)


def measure_all(
    images: Images, collapses: Sequence[Collapse], networks: Iterator[Network], prompts: int
) -> tuple[list[Row], list[Rank]]:
    """Measure every generator in every kind of features.

    Args:
        images: What was drawn.
        collapses: The generators.
        networks: The kinds of features.
        prompts: Number of prompts P.
    """
    rows: list[Row] = []
    ranks: list[Rank] = []
    for network in networks:
        real = network.extractor(images.teacher).astype(np.float64)
        fakes = [network.extractor(each).astype(np.float64) for each in images.drawn]
        for name, by_prompt in _measures(network).items():
            own = by_prompt(real, real, prompts)
            sums = [by_prompt(real, fake, prompts) for fake in fakes]
            between = name in ("coverage", "recall")
            for collapse, truth, each in zip(collapses, images.truth, sums, strict=True):
                found = _row(None if between else own, each)
                rows.append(
                    Row(
                        features=network.name,
                        measure=name,
                        generator=str(collapse),
                        kind=collapse.kind,
                        dose=collapse.dose,
                        truth=truth,
                        **found,
                    )
                )
            ranks += _ranks(network.name, name, np.stack(sums), images.truth, collapses)
    return rows, ranks


def _measures(network: Network) -> "dict[str, Callable[[Floats, Floats, int], Floats]]":
    """Return measures as functions of (teacher's, generator's features, P) to (P,) values."""
    cosine = network.distance == "cosine"
    distances = diversity.cosine_distances if cosine else diversity.squared_distances

    def pairwise(_real: Floats, fake: Floats, prompts: int) -> Floats:
        sums = [diversity.pair_sum(distances(own)) for own in np.split(fake, prompts)]
        return np.array([each.total / each.pairs for each in sums])

    def vendi(_real: Floats, fake: Floats, prompts: int) -> Floats:
        return np.array([diversity.vendi(own) for own in np.split(fake, prompts)])

    def cover(real: Floats, fake: Floats, prompts: int) -> Floats:
        return _by_prompt(prdc(real, fake).coverage, prompts)

    def recall(real: Floats, fake: Floats, prompts: int) -> Floats:
        return _by_prompt(prdc(real, fake).recall, prompts)

    found: dict[str, Callable[[Floats, Floats, int], Floats]] = {
        "pairwise": pairwise,
        "coverage": cover,
        "recall": recall,
    }
    return {**found, "vendi": vendi} if cosine else found


def _by_prompt(values: NDArray[Any], prompts: int) -> Floats:
    means: Floats = values.reshape(prompts, -1).mean(1)
    return means


def _clusters(values: Floats) -> Clusters:
    return Clusters(
        numerator=values[:, None],
        denominator=np.ones((len(values), 1)),
        strata=np.zeros(len(values), dtype=np.int64),
    )


def _row(teacher: Floats | None, own: Floats) -> Mapping[str, float]:
    if teacher is None:
        return {"value": float(own.mean()), "ratio": NAN, "ratio_low": NAN, "ratio_high": NAN}
    found = compare(_clusters(own), _clusters(teacher))
    return {
        "value": float(own.mean()),
        "ratio": found.ratio,
        "ratio_low": found.ratio_low,
        "ratio_high": found.ratio_high,
    }


def _ranks(
    features: str,
    measure: str,
    values: Floats,
    truth: Sequence[float],
    collapses: Sequence[Collapse],
) -> Iterator[Rank]:
    """Yield the correlation over all clean generators, and over those of one kind and none.

    Args:
        features: Kind of features.
        measure: The measure.
        values: (G, P).
        truth: (G,).
        collapses: The generators; noisy ones are left out.
    """
    rng = np.random.default_rng(SEED)
    chosen = rng.integers(0, values.shape[1], (BOOTSTRAP, values.shape[1]))
    clean = [i for i, c in enumerate(collapses) if not c.noise]
    groups = {"all": clean}
    for kind in ("modes", "weight", "shrink"):
        groups[kind] = [i for i in clean if collapses[i].kind in ("none", kind)]
    for group, rows in groups.items():
        own, target = values[rows], np.array(truth)[rows]
        draws = _spearman(own[:, chosen].mean(2).T, target)  # (B,)
        low, high = np.nanquantile(draws, [0.025, 0.975])
        yield Rank(
            features=features,
            measure=measure,
            group=group,
            spearman=float(_spearman(own.mean(1)[None], target)[0]),
            low=float(low),
            high=float(high),
            generators=len(rows),
        )


def _spearman(values: Floats, truth: Floats) -> Floats:
    """Return rank correlations (B,) of values (B, G) with the truth (G,); NaN where all tie."""
    ranks = [stats.rankdata(each, axis=-1) for each in (values, truth)]
    a, b = (each - each.mean(-1, keepdims=True) for each in ranks)
    size = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    top: Floats = a @ b
    rho: Floats = np.divide(top, size, out=np.full(len(top), NAN), where=size > 0)
    return rho
