"""VBench's sixteen dimensions, their groups of prompts, and the three totals made of them.

Constants as in VBench 0.1.5 (scripts/constant.py, VBench_full_info.json).
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from rcm_bench.statistics.clusters import Floats
from rcm_bench.statistics.intervals import Kind

Part = Literal["quality", "semantic"]
TOTALS = ("total", "quality", "semantic")


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
LOW, HIGH, WEIGHT = np.array([(d.low, d.high, d.weight) for d in DIMENSIONS.values()]).T
_SHARES: Mapping[str, Floats] = {
    part: np.where([d.part == part for d in DIMENSIONS.values()], WEIGHT, 0.0)
    for part in ("quality", "semantic")
}


def totals(raw: Floats) -> dict[str, Floats]:
    """Return Quality, Semantic and Total of raw dimensions; NaN where a dimension is NaN.

    Quality = sum w norm / 6.5, Semantic = sum w norm / 9, Total = (4 Quality + Semantic) / 5.

    Args:
        raw: (..., 16) in the order of `DIMENSIONS`.
    """
    norm = (raw - LOW) / (HIGH - LOW)
    parts = {
        name: np.where(share > 0, norm, 0.0) @ share / share.sum()
        for name, share in _SHARES.items()
    }
    return {"total": (4 * parts["quality"] + parts["semantic"]) / 5, **parts}
