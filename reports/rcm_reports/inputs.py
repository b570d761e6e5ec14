"""What a report is made from: the receipt of a run and its tables."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

MEASUREMENT_COLUMNS = ("benchmark", "metric", "model", "sampler", "steps", "value", "low", "high")
PAIRED_COLUMNS = ("benchmark", "metric", "model", "sampler", "steps", "difference", "tied")
TIMING_COLUMNS = ("benchmark", "metric", "model", "sampler", "steps", "value")
SAMPLE_COLUMNS = (
    "item_id",
    "model",
    "sampler",
    "steps",
    "prompt_id",
    "prompt",
    "seed_index",
    "blob",
)
SCORE_COLUMNS = ("item_id", "benchmark", "metric", "value")
PUBLISHED_COLUMNS = ("benchmark", "metric", "model", "steps", "value", "text", "source", "differs")
THROUGHPUT_COLUMNS = ("model", "steps", "kernels")
FAILURE_COLUMNS = ("model", "steps", "stage", "message")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReportInput:
    """Everything that a report shows; nothing else is read but the blobs that ``samples`` names.

    Args:
        manifest: The receipt of the run: plan, protocol, models, metrics, environment.
        measurements: One row per benchmark, metric, model, sampler and steps, with its interval.
        paired: Differences to the reference, paired by prompt.
        samples: One row per sample, with its blob's path relative to ``run_dir``.
        scores: One row per sample and metric; NaN is unscored.
        failures: What could not be sampled or scored.
        timings: Seconds and bytes, never taken from a cache.
        run_dir: Folder of the run; it appears nowhere in what is written.
        published: Numbers of others to be shown beside the run's own, in its units; ``text`` is
            how they are printed. They have no interval and are part of no comparison.
        throughput: One row per model and steps: parts, memory, rates, speed-ups, and ``reasons``
            for what is not there.
        poster: Gives an image of a video that the page shows and whose row of ``samples`` names no
            ``poster``; None for none.

    Raises:
        ValueError: A table has rows but lacks a column that the report needs.
    """

    manifest: Mapping[str, Any]
    measurements: pd.DataFrame
    paired: pd.DataFrame
    samples: pd.DataFrame
    scores: pd.DataFrame
    failures: pd.DataFrame
    timings: pd.DataFrame
    run_dir: Path
    published: pd.DataFrame = field(default_factory=pd.DataFrame)
    throughput: pd.DataFrame = field(default_factory=pd.DataFrame)
    poster: Callable[[Path], Path | None] | None = None

    def __post_init__(self) -> None:
        """Refuse tables that lack columns, by name, before anything is written."""
        _require("measurements", self.measurements, MEASUREMENT_COLUMNS)
        _require("paired", self.paired, PAIRED_COLUMNS)
        _require("samples", self.samples, SAMPLE_COLUMNS)
        _require("scores", self.scores, SCORE_COLUMNS)
        _require("failures", self.failures, FAILURE_COLUMNS)
        _require("timings", self.timings, TIMING_COLUMNS)
        _require("published", self.published, PUBLISHED_COLUMNS)
        _require("throughput", self.throughput, THROUGHPUT_COLUMNS)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries with string keys."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _require(name: str, frame: pd.DataFrame, columns: Iterable[str]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing and len(frame):
        raise ValueError(
            f"table {name} must have column(s) {', '.join(missing)}; "
            f"got {', '.join(map(str, frame.columns))}"
        )
