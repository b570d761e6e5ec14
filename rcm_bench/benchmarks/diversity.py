"""Diversity against the truth: how much two images of one prompt differ, over how much they should.

For every prompt and every pair of its seeds the objects that the prompt names are matched and
compared (Dispersion in rcm_distill.lab.dispersion says how). The number is

    sum over prompts and pairs of the difference / sum over the same pairs of its expectation

so 1 means as diverse as the world itself and 0 that every seed gives the same image. All pairs of
K independent seeds make an unbiased estimate for each prompt; the prompt is the cluster.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from operator import getitem
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import ConfigDict

from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.types import PromptRecord, Scorer

ATTRIBUTES = ("color", "place", "size", "background")
FEW = 4
"""So many objects are matched by trying every order: as fast, and nothing heavy is imported."""
Scene = Mapping[str, Any]
"""Details of the scorer's metric ``scene``."""

_ABOUT = {
    "color": "How often an object whose colour the prompt leaves open changes colour",
    "place": "Mean distance of an object's places",
    "size": "Mean difference of an object's sizes",
    "background": "Mean difference of the backgrounds' grey",
}


def _metric(title: str, about: str, *, headline: bool = False) -> MetricInfo:
    return MetricInfo(
        title=title,
        unit="ratio to truth",
        higher_is_better=True,
        about=f"{about} between two seeds, over what the world's own law gives (1 = as diverse).",
        headline=headline,
    )


def _assignment(a: Sequence[Scene], b: Sequence[Scene], exchangeable: bool) -> list[int]:
    """Return for each object of a its object of b: by name, or nearest in total among equals."""
    if not exchangeable:
        return list(range(len(b)))
    distance = [[math.dist(one["xy"], other["xy"]) for other in b] for one in a]
    if len(b) <= FEW:
        orders = permutations(range(len(b)))

        def total(order: Iterable[int]) -> float:
            return sum(map(getitem, distance, order))

        return list(min(orders, key=total))
    from scipy.optimize import linear_sum_assignment

    return [int(j) for j in linear_sum_assignment(distance)[1]]


def gaps(a: Scene, b: Scene) -> dict[str, float]:
    """Compare two scenes of one prompt; what one of them lacks is left out.

    Args:
        a: Details of one image's scene: ``slots`` (one {color, xy, radius, free} for each object
            that the prompt names, None where it was not found), ``exchangeable``, ``tone``.
        b: The same of the other.

    Returns:
        Differences by attribute, in the units of the world's dispersion.
    """
    found = {}
    if a["tone"] is not None and b["tone"] is not None:
        found["background"] = abs(a["tone"] - b["tone"])
    if None in a["slots"] or None in b["slots"]:
        return found
    order = _assignment(a["slots"], b["slots"], a["exchangeable"])
    pairs = [(one, b["slots"][j]) for one, j in zip(a["slots"], order, strict=True)]
    # Plain floats: numpy takes ten times as long for one to four numbers.
    found["place"] = fmean(math.dist(p["xy"], q["xy"]) for p, q in pairs)
    found["size"] = fmean(abs(p["radius"] - q["radius"]) for p, q in pairs)
    free = [p["color"] != q["color"] for p, q in pairs if p["free"]]
    if free:
        found["color"] = fmean(free)
    return found


def _usable(scene: Scene | None, attribute: str) -> bool:
    if scene is None:
        return False
    return scene["tone"] is not None if attribute == "background" else None not in scene["slots"]


def jackknife(pairs: Mapping[tuple[int, int], float]) -> float:
    """Return the variance over new seeds of a sum over all pairs of K seeds; NaN for K < 3.

    With U the mean over the P = K (K - 1) / 2 pairs and U_-i without seed i,
    P^2 (K - 1) / K sum_i (U_-i - mean)^2, on the wide side (Efron & Stein 1981).

    Args:
        pairs: The difference of each pair of seeds.
    """
    seeds = sorted({seed for pair in pairs for seed in pair})
    if len(seeds) < 3:
        return float("nan")
    own, count = dict.fromkeys(seeds, 0.0), dict.fromkeys(seeds, 0)
    for pair, gap in pairs.items():
        for seed in pair:
            own[seed] += gap
            count[seed] += 1
    whole = math.fsum(pairs.values())
    without = np.array([(whole - own[seed]) / (len(pairs) - count[seed]) for seed in seeds])
    shrink = (len(seeds) - 1) / len(seeds)
    return float(len(pairs) ** 2 * shrink * ((without - without.mean()) ** 2).sum())


def _prompt_rows(
    scenes: Sequence[Scene | None], truths: Mapping[str, float | None]
) -> Iterator[dict[str, Any]]:
    """Yield one row for each attribute that concerns the prompt."""
    there = [(seed, scene) for seed, scene in enumerate(scenes) if scene is not None]
    found = {(i, j): gaps(a, b) for (i, a), (j, b) in combinations(there, 2)}
    for attribute, truth in truths.items():
        if truth is None:
            continue
        own = {pair: gap[attribute] for pair, gap in found.items() if attribute in gap}
        usable = sum(_usable(scene, attribute) for scene in scenes)
        yield {
            "component": attribute,
            "numerator": float(np.sum(list(own.values()))),
            "denominator": len(own) * float(truth),
            "within": jackknife(own),
            "n_samples": usable,
            "n_missing": len(scenes) - usable,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """Diversity of the shapes laboratory, where the truth is known."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "diversity"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "overall": _metric(
            "Diversity", "Mean of colour, place, size and background: differences", headline=True
        ),
        **{name: _metric(name.capitalize(), _ABOUT[name]) for name in ATTRIBUTES},
    }

    def scorer(self) -> "Scorer":
        """Return the scorer that reads each image back into a scene."""
        from rcm_bench.scorers.lab import Scorer

        return Scorer()

    def check_prompts(self, prompts: "Sequence[PromptRecord]", where: str) -> None:
        """Refuse prompts that are not the laboratory's, before anything is sampled.

        Args:
            prompts: The prompts of the suite.
            where: File, line and key of the benchmark.

        Raises:
            UserError: Names the first.
        """
        from rcm_bench.prompt_sets import check_lab_prompts

        check_lab_prompts(prompts, where, "; 'feature_diversity' measures that of any images")

    def measure(
        self,
        samples: "pd.DataFrame",
        scores: "pd.DataFrame",
        *,
        failures: "Failures" = "exclude_and_flag",
    ) -> "dict[str, Measured]":
        """Sum differences over the pairs of seeds of each prompt.

        A sample in which an object was not found makes no pairs for colour, place and size and is
        counted as missing there.

        Args:
            samples: The samples table.
            scores: The scores table; the details of the scorer's metric ``scene`` are read.
            failures: Has no meaning here: a pair that is not there has no difference.
        """
        import pandas as pd

        from rcm_bench.measured import CELL, Measured, scored

        table = scored(samples, scores, "scene").sort_values([*CELL, "prompt_id", "seed_index"])
        table["scene"] = [
            json.loads(text) if there else None
            for text, there in zip(table["details"], table["value"].notna(), strict=True)
        ]
        truths = {
            prompt: scene["truth"]
            for prompt, scene in zip(table["prompt_id"], table["scene"], strict=True)
            if scene is not None
        }
        rows = []
        for key, group in table.groupby([*CELL, "prompt_id", "task"], sort=True):
            shared = dict(zip((*CELL, "prompt_id", "stratum"), key, strict=True))
            # A prompt of which no model has one scene: its truth is unknown, its samples missing.
            truth = truths.get(str(shared["prompt_id"]), dict.fromkeys(ATTRIBUTES, 1.0))
            rows += [{**shared, **row} for row in _prompt_rows(group["scene"].tolist(), truth)]
        frame = pd.DataFrame(rows)
        measured = {"overall": Measured(rows=frame, components=ATTRIBUTES)}
        for attribute in ATTRIBUTES:
            own = frame[frame["component"] == attribute]
            if len(own):
                measured[attribute] = Measured(rows=own, components=(attribute,))
        return measured
