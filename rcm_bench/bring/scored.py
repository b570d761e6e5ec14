"""What a benchmark's settings say of scores that were made elsewhere."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from rcm_bench.suite import Name, Strict
from rcm_bench.unrecorded import UNKNOWN

KEYS = ("detector", "results")
"""Keys of benchmarks' settings under which `ScoredElsewhere` stands."""


class ScoredElsewhere(Strict):
    """The scores come with the models (``kind: results``); nothing is scored here."""

    kind: Literal["results"] = "results"
    scorer: Name = Field(
        default=UNKNOWN, description="What scored, with version and weights, as far as is known"
    )


def scorer_is_unknown(benchmarks: Mapping[str, Mapping[str, Any] | None]) -> bool:
    """Say whether some benchmark takes scores of which nobody says what made them.

    Args:
        benchmarks: The suite's benchmarks with their settings.
    """
    taken = [(settings or {}).get(key) for settings in benchmarks.values() for key in KEYS]
    given = [each for each in taken if isinstance(each, Mapping) and _is_results(each)]
    return any(each.get("scorer", UNKNOWN) == UNKNOWN for each in given)


def _is_results(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("kind", "results") == "results")
