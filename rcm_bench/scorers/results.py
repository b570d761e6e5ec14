"""Scores that were made elsewhere: read from what stands in the store in place of a sample.

Such a stand-in is a JSON object: ``layout``; ``scores``, {metric: {value, reason, details}}. A
metric that the results do not have is unscored, with that reason.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rcm_bench.bring.scored import ScoredElsewhere
from rcm_bench.types import SampleRef, Score
from rcm_bench.unrecorded import UNKNOWN

ABSENT = "the results that were brought have no score of it"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """Reads the scores of stand-ins.

    Args:
        layout: Whose results they are: ``"geneval"``, ``"vbench"`` or ``"vbench_i2v"``.
        about: What is known of what scored.
        metrics: The metrics that are wanted.
    """

    layout: str
    about: ScoredElsewhere
    metrics: tuple[str, ...]

    version: ClassVar[str] = "as brought"

    @property
    def name(self) -> str:
        """Name of what scored, as the suite states it."""
        said = self.about.scorer
        return f"{said} (results as brought)" if said == UNKNOWN else said

    def settings(self) -> dict[str, Any]:
        """Return what is wanted; of the scorer's own settings nothing is known."""
        return {"results": self.layout, "metrics": list(self.metrics), "own": UNKNOWN}

    def __call__(self, samples: Sequence[SampleRef]) -> Iterator[Score]:
        """Read the scores of samples.

        Args:
            samples: Stand-ins.

        Raises:
            ValueError: A sample is an image or a video, or of another layout.
        """
        for sample in samples:
            found = _read(sample, self.layout)
            owed = sample.metadata.get("vbench", {}).get("dimensions", self.metrics)
            for metric in self.metrics:
                if metric not in owed:
                    continue
                score = found.get(metric, {"value": None, "reason": ABSENT})
                yield Score(
                    sample_digest=sample.digest,
                    scorer=self.name,
                    version=self.version,
                    metric=metric,
                    value=score["value"],
                    reason=score.get("reason"),
                    details=score.get("details", {}),
                )


def _read(sample: SampleRef, layout: str) -> dict[str, Any]:
    where = f"sample {sample.item_id}"
    if sample.path.suffix != ".json":
        raise ValueError(f"{where}: expected brought results, got {sample.path.name}")
    found = json.loads(sample.path.read_text(encoding="utf-8"))
    if found["layout"] != layout:
        raise ValueError(f"{where}: expected {layout} results, got {found['layout']}")
    scores: dict[str, Any] = found["scores"]
    return scores
