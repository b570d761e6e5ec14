"""Cost: network evaluations, counted exactly, and seconds per image (in the table of timings)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """Network evaluations and time of each sample; nothing is scored."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "latency"
    metrics: ClassVar[Mapping[str, MetricInfo]] = {
        "seconds_per_image": MetricInfo(
            title="Time",
            unit="s/image",
            higher_is_better=False,
            about="Seconds that one image takes, measured on this machine.",
            headline=True,
        ),
        "nfe": MetricInfo(
            title="Network evaluations",
            unit="evaluations",
            higher_is_better=False,
            about="Evaluations of the network for one image; guidance counts twice.",
        ),
    }

    def scorer(self) -> None:
        """Return nothing: cost is recorded with the sample."""

    def measure(
        self,
        samples: "pd.DataFrame",
        scores: "pd.DataFrame",
        *,
        failures: "Failures" = "exclude_and_flag",
    ) -> "dict[str, Measured]":
        """Average the recorded network evaluations; times belong to the table of timings.

        Args:
            samples: The samples table; its column ``nfe`` is read.
            scores: Unused.
            failures: Has no meaning here.
        """
        from rcm_bench.measured import evaluations

        return {"nfe": evaluations(samples)}
