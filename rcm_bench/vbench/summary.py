"""Result files to the numbers that papers print: normalised dimensions, and the totals of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rcm_bench.statistics.vbench_dimensions import DIMENSIONS, TOTALS, totals
from rcm_bench.statistics.vbench_i2v import I2V_DIMENSIONS, I2V_TOTALS, i2v_totals
from rcm_bench.vbench.results import DimensionResult

Edition = Literal["t2v", "i2v"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A total or a normalised dimension.

    Args:
        value: The value in VBench's own unit (papers print it times 100), None if it is missing.
        reason: Why it is missing.
    """

    value: float | None
    reason: str = ""


def normalised(results: Mapping[str, DimensionResult], edition: Edition) -> dict[str, Number]:
    """Return (raw - low) / (high - low) of each dimension that enters a total, not clipped."""
    found = {}
    constants = DIMENSIONS if edition == "t2v" else I2V_DIMENSIONS
    for name, constant in constants.items():
        if name in results:
            raw = results[name].aggregate
            found[name] = Number(value=(raw - constant.low) / (constant.high - constant.low))
        else:
            found[name] = Number(value=None, reason=f"no result of {name}")
    return found


def summarise(
    results: Mapping[str, DimensionResult], edition: Edition = "t2v"
) -> dict[str, Number]:
    """Return Quality, Semantic and Total, or I2V's; what lacks a dimension is missing, never zero.

    Args:
        results: Dimensions by name; others than the edition's are left out.
        edition: Text to video, or image to video.
    """
    constants = DIMENSIONS if edition == "t2v" else I2V_DIMENSIONS
    names = TOTALS if edition == "t2v" else I2V_TOTALS
    raw = np.array([results[n].aggregate if n in results else math.nan for n in constants])
    values = totals(raw) if edition == "t2v" else i2v_totals(raw)
    found = {}
    for name in names:
        needed = [n for n, c in constants.items() if name in ("total", c.part)]
        missing = [n for n in needed if n not in results]
        if missing:
            found[name] = Number(value=None, reason=f"no result of {', '.join(missing)}")
        else:
            found[name] = Number(value=float(values[name]))
    return found
