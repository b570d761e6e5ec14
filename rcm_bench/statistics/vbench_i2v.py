"""VBench-I2V: nine dimensions that enter its Total, of image to video, and the totals themselves.

Constants as in VBench's repository (vbench2_beta_i2v); temporal flickering is scored there too, and
enters no total.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from rcm_bench.statistics.clusters import Floats
from rcm_bench.statistics.intervals import Kind
from rcm_bench.statistics.vbench_dimensions import DIMENSIONS

I2V_TOTALS = ("total", "i2v", "quality")
_QUALITY = (
    *("subject_consistency", "background_consistency", "motion_smoothness", "dynamic_degree"),
    *("aesthetic_quality", "imaging_quality"),
)


class I2VDimension(NamedTuple):
    """How a raw dimension enters the totals: (raw - low) / (high - low), not clipped, by weight."""

    low: float
    high: float
    weight: float
    part: Literal["i2v", "quality"]
    kind: Kind


I2V_DIMENSIONS: Mapping[str, I2VDimension] = {
    "i2v_subject": I2VDimension(0.1462, 1.0, 1.0, "i2v", "mean"),
    "i2v_background": I2VDimension(0.2615, 1.0, 1.0, "i2v", "mean"),
    "camera_motion": I2VDimension(0.0, 1.0, 0.1, "i2v", "proportion"),
    **{
        name: I2VDimension(d.low, d.high, d.weight, "quality", d.kind)
        for name in _QUALITY
        for d in (DIMENSIONS[name],)
    },
}


def i2v_totals(raw: Floats) -> dict[str, Floats]:
    """Return I2V, Quality and Total of raw dimensions; NaN where a dimension is NaN.

    I2V = sum w norm / 2.1, Quality = sum w norm / 5.5, Total = (I2V + Quality) / 2.

    Args:
        raw: (..., 9) in the order of `I2V_DIMENSIONS`.
    """
    low, high, weight = np.array([(d.low, d.high, d.weight) for d in I2V_DIMENSIONS.values()]).T
    norm = (raw - low) / (high - low)
    parts = {}
    for part in ("i2v", "quality"):
        own = np.array([d.part == part for d in I2V_DIMENSIONS.values()])
        parts[part] = norm[..., own] @ weight[own] / weight[own].sum()
    return {"total": (parts["i2v"] + parts["quality"]) / 2, **parts}
