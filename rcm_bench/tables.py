"""Tables of a run, made from its records alone; plan order everywhere, so that bytes are equal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from rcm_bench.canonical import canonical_json
from rcm_bench.feature_files import with_path
from rcm_bench.planning import Plan
from rcm_bench.scoring import (
    applies,
    sample_digest,
    score_key,
    scorer_key,
    scorers_of,
    unique_scorers,
)
from rcm_bench.store import Index
from rcm_bench.types import Benchmark, Scorer, WorkItem
from rcm_bench.unrecorded import NO_SEED

SAMPLES = [
    *("sample_key", "item_id", "model", "sampler", "steps", "prompt_id", "prompt", "task"),
    *("seed_index", "seed", "blob", "nfe", "status", "flags"),
]
SCORES = [
    *("sample_key", "item_id", "benchmark", "scorer", "version"),
    *("metric", "value", "reason", "details"),
]
FAILURES = [
    *("item_id", "model", "sampler", "steps", "prompt_id", "seed_index"),
    *("stage", "status", "message", "attempts"),
]


class RunTables(NamedTuple):
    """Everything that a run's records say of its plan."""

    samples: pd.DataFrame
    scores: pd.DataFrame
    failures: pd.DataFrame


def run_tables(plan: Plan, index: Index, benchmarks: Sequence[Benchmark]) -> RunTables:
    """Return samples, scores and failures.

    Args:
        plan: The plan; every one of its items has a row in samples, whatever became of it.
        index: The records.
        benchmarks: The benchmarks of the suite.
    """
    scored = {b.name: [scorer_key(s) for s in scorers_of(b)] for b in benchmarks}
    tasks = {prompt.prompt_id: prompt.task for prompt in plan.prompts}
    samples = pd.DataFrame(
        [_sample_row(item, tasks[item.prompt_id], index) for item in plan.items], columns=SAMPLES
    )
    scores = pd.DataFrame(_score_rows(plan, index, scored), columns=SCORES)
    scores["value"] = scores["value"].astype("float64")
    failures = pd.DataFrame(
        _failure_rows(plan, index, unique_scorers(benchmarks)), columns=FAILURES
    )
    return RunTables(samples, scores, failures)


def _sample_row(item: WorkItem, task: str, index: Index) -> tuple[Any, ...]:
    record = index.samples.get(item.sample_key or "")
    there: tuple[Any, ...]
    if record is not None:
        blob = record["blob"]
        there = (f"blobs/{blob[:2]}/{blob}", record["nfe"], "ok", ",".join(record["flags"]))
    else:
        there = (None, None, "failed" if item.item_id in index.failures else "missing", "")
    return (
        *(item.sample_key, item.item_id, item.model, item.sampler, item.steps),
        *(item.prompt_id, item.prompt, task, item.seed_index),
        *(None if item.seed == NO_SEED else item.seed, *there),
    )


def _score_rows(
    plan: Plan, index: Index, scored: Mapping[str, Sequence[str]]
) -> Iterable[tuple[Any, ...]]:
    prompts = {prompt.prompt_id: prompt for prompt in plan.prompts}
    for item in plan.items:
        sample = index.samples.get(item.sample_key or "")
        if sample is None:
            continue
        found: dict[str, list[tuple[Any, ...]]] = {}
        for benchmark, scorer in ((name, s) for name, scorers in scored.items() for s in scorers):
            if scorer not in found:
                key = score_key(sample_digest(sample), scorer, prompts[item.prompt_id])
                found[scorer] = list(_spelled(index.scores.get(key), index))
            for row in found[scorer]:
                yield (item.sample_key, item.item_id, benchmark, *row)


def _spelled(record: Mapping[str, Any] | None, index: Index) -> Iterable[tuple[Any, ...]]:
    """Yield the values of a score record, spelled once for all benchmarks that share a scorer.

    The name of a file of features becomes its path, which measures can open.
    """
    if record is None:
        return
    for made in record["scores"]:
        yield (
            *(record["scorer"], record["version"], made["metric"], made["value"], made["reason"]),
            canonical_json(with_path(made["details"], index.files)),
        )


def _failure_rows(
    plan: Plan, index: Index, scorers: Mapping[str, Scorer]
) -> Iterable[tuple[Any, ...]]:
    prompts = {prompt.prompt_id: prompt for prompt in plan.prompts}
    for item in plan.items:
        sample = index.samples.get(item.sample_key or "")
        records = index.failures.get(item.item_id, [])
        for stage in ("sample", "score"):
            own = sorted((r for r in records if r["stage"] == stage), key=lambda r: str(r["at"]))
            if not own or (stage == "sample" and sample is not None):
                continue
            if stage == "score" and sample is not None:
                digest, prompt = sample_digest(sample), prompts[item.prompt_id]
                owed = [key for key, scorer in scorers.items() if applies(scorer, prompt)]
                if all(score_key(digest, key, prompt) in index.scores for key in owed):
                    continue
            yield (
                *(item.item_id, item.model, item.sampler, item.steps, item.prompt_id),
                *(item.seed_index, stage, own[-1]["status"], own[-1]["message"]),
                sum(record["attempts"] for record in own),
            )
