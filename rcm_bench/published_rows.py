"""The published numbers that a suite asks to see beside its own: chosen, never paired.

Shown as printed, each with its source and with what it was measured under that this run was not.
They enter no statistic: they are no part of the measurements, and no interval is known of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rcm_bench.errors import UserError, unknown_name
from rcm_bench.prompt_sets import prompt_key
from rcm_bench.published import OFFICIAL_PROMPTS, differs, measured_scores, prompts_mark
from rcm_bench.suite import PublishedEntry, Suite
from rcm_bench.suite_load import LoadedSuite
from rcm_bench.types import Benchmark, PromptRecord

COLUMNS = ["benchmark", "metric", "model", "steps", "value", "text", "source", "differs", "note"]
_CHOICES = ("model", "method", "params", "source")
_IN_UNIT = {"fraction": 1.0, "percent": 0.01}
_DIGITS = {"fraction": 2, "percent": 4}


def check_published(
    loaded: LoadedSuite, benchmarks: Sequence[Benchmark], prompts: Sequence[PromptRecord]
) -> None:
    """Refuse to show what is not published, or what would be another quantity here.

    Raises:
        UserError: An entry names what does not exist, or the prompts are not the benchmark's own.
    """
    metrics = {benchmark.name: list(benchmark.metrics) for benchmark in benchmarks}
    for place, entry in enumerate(loaded.suite.published):
        where = loaded.place("published", place)
        if entry.benchmark not in metrics:
            raise unknown_name(f"{where}.benchmark", "benchmark", entry.benchmark, metrics)
        known = _of_benchmark(entry.benchmark, metrics[entry.benchmark])
        if not len(known):
            raise UserError(f"{where}.benchmark: no number of '{entry.benchmark}' is known")
        for key in _CHOICES:
            value = getattr(entry, key)
            if value is None:
                continue
            there = sorted(set(known[key]) - {""})
            if value not in there:
                raise unknown_name(f"{where}.{key}", f"published {key}", value, there)
            known = known[known[key] == value]
        if entry.steps is not None and not set(entry.steps) <= set(known["steps"]):
            grid = ", ".join(str(steps) for steps in sorted(set(known["steps"])))
            raise UserError(f"{where}.steps: published are {grid} steps, got {entry.steps}")
        if not _is_official(entry.benchmark, loaded.suite, prompts):
            raise UserError(
                f"{where}: published numbers of '{entry.benchmark}' are of the benchmark's own "
                f"prompts; on this suite's {len(prompts)} the same name is another quantity"
            )


def published_rows(
    suite: Suite, benchmarks: Sequence[Benchmark], protocol: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the chosen numbers, in the unit of the run.

    Args:
        suite: The suite; its entries have been checked.
        benchmarks: Its benchmarks.
        protocol: The run's protocol, as in its manifest.

    Returns:
        Columns as in ``COLUMNS``; ``model`` is a name for people, ``text`` the number as printed.
    """
    metrics = {benchmark.name: list(benchmark.metrics) for benchmark in benchmarks}
    parts = [_chosen(entry, metrics[entry.benchmark]) for entry in suite.published]
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    found = pd.concat(parts).drop_duplicates()
    names = found[["model", "params", "method"]].agg(" ".join, axis=1).str.split().str.join(" ")
    sources = found.assign(name=names).groupby("name")["source"].transform("nunique")
    labels = names.where(sources == 1, names + " (" + found["source"] + ")")
    digits = found["unit"].map(_DIGITS).astype(int)
    exact = found["value"] * found["unit"].map(_IN_UNIT)
    values = [round(value, number) for value, number in zip(exact, digits, strict=True)]
    return found.assign(
        model=labels,
        value=values,
        text=[f"{value:.{number}f}" for value, number in zip(values, digits, strict=True)],
        differs=[differs(str(row.benchmark), str(row.resolution), protocol)
                 for row in found.itertuples()],
    )[COLUMNS].reset_index(drop=True)  # fmt: skip


def _of_benchmark(benchmark: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Return what is published of a benchmark in metrics and units that a run has, too."""
    scores = measured_scores()
    own = scores["benchmark"].eq(benchmark) & scores["metric"].isin(metrics)
    return scores[own & scores["unit"].isin(list(_IN_UNIT))]


def _chosen(entry: PublishedEntry, metrics: Sequence[str]) -> pd.DataFrame:
    found = _of_benchmark(entry.benchmark, metrics)
    for key in _CHOICES:
        if (value := getattr(entry, key)) is not None:
            found = found[found[key] == value]
    return found if entry.steps is None else found[found["steps"].isin(entry.steps)]


def _is_official(benchmark: str, suite: Suite, prompts: Sequence[PromptRecord]) -> bool:
    if benchmark == "vbench":  # its set is held to the digest of the package's own file
        return suite.prompts.set == "vbench"
    mark = prompts_mark([prompt_key(prompt) for prompt in prompts])
    return OFFICIAL_PROMPTS.get(benchmark) == mark
