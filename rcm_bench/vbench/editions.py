"""VBench of text to video and VBench-I2V: what each scores, and what its totals are made of."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rcm_bench.statistics.vbench_dimensions import DIMENSIONS, GROUPS, TOTALS, totals
from rcm_bench.statistics.vbench_i2v import I2V_DIMENSIONS, I2V_TOTALS, i2v_totals
from rcm_bench.vbench.dimensions import I2V, I2V_GROUPS, T2V


class Edition(NamedTuple):
    """One benchmark.

    Attributes:
        dimensions: All that it scores, in its order.
        constants: How those that enter a total enter it (low, high, weight, part, kind), by name.
        totals: Names of the totals.
        combine: Raw dimensions in the order of ``constants`` to the totals.
        groups: Dimensions of each group of prompts.
    """

    dimensions: tuple[str, ...]
    constants: Mapping[str, Any]
    totals: tuple[str, ...]
    combine: Callable[..., Mapping[str, Any]]
    groups: tuple[tuple[str, ...], ...]

    def group_of(self, dimension: str) -> str | None:
        """Return the one group of prompts that a dimension is scored on; None if on several."""
        own = ["+".join(names) for names in self.groups if dimension in names]
        return own[0] if len(own) == 1 else None

    def kind_of(self, dimension: str) -> Any:
        """Return whether a dimension is a mean or a proportion."""
        return (self.constants.get(dimension) or DIMENSIONS[dimension]).kind


TEXT = Edition(
    dimensions=T2V,
    constants=DIMENSIONS,
    totals=TOTALS,
    combine=totals,
    groups=tuple(names for _, names in GROUPS),
)
IMAGE = Edition(
    dimensions=I2V,
    constants=I2V_DIMENSIONS,
    totals=I2V_TOTALS,
    combine=i2v_totals,
    groups=tuple(names for _, names in I2V_GROUPS),
)
EDITIONS: Mapping[str, Edition] = {"vbench": TEXT, "vbench_i2v": IMAGE}
"""By the name of the benchmark, which is also that of its prompt set."""


def is_of(name: str, metadata: Mapping[str, Any]) -> bool:
    """Say whether a prompt is of VBench's own set of a name, by its metadata."""
    known = metadata.get("vbench")
    return known is not None and (known.get("image") is not None) == (name == "vbench_i2v")
