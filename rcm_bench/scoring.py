"""Scoring: stored samples to score records; nothing is sampled, equal scores are made once."""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rcm_bench.canonical import canonical_json, digest_of
from rcm_bench.planning import Plan
from rcm_bench.progress import progress
from rcm_bench.store import Index, RunStore, now
from rcm_bench.store_blobs import CorruptBlobError
from rcm_bench.types import Benchmark, PromptRecord, SampleRef, Score, Scorer, WorkItem

BATCH = 64


def scorer_of(benchmark: Benchmark) -> Scorer | None:
    """Return the scorer of a benchmark; None for one that only measures time."""
    return benchmark.scorer()


def scorer_key(scorer: Scorer) -> str:
    """Return a digest of everything of a scorer that can change a score."""
    return digest_of([scorer.name, scorer.version, scorer.settings()])


def score_key(digest: str, scorer: str, prompt: PromptRecord) -> str:
    """Return the key of a score.

    The prompt is part of it: the same picture may answer one prompt and not another.

    Args:
        digest: SHA-256 of the sample's file.
        scorer: Key of the scorer.
        prompt: The prompt with what the benchmark knows about it.
    """
    return digest_of([digest, scorer, prompt.text, prompt.task, dict(prompt.metadata)])


def unique_scorers(benchmarks: Sequence[Benchmark]) -> dict[str, Scorer]:
    """Return the scorers of the benchmarks by key, each once."""
    found: dict[str, Scorer] = {}
    for benchmark in benchmarks:
        scorer = scorer_of(benchmark)
        if scorer is not None:
            found.setdefault(scorer_key(scorer), scorer)
    return found


def sample_digest(record: Mapping[str, Any]) -> str:
    """Return the digest in the name of a sample's file."""
    return str(record["blob"]).partition(".")[0]


def score(plan: Plan, store: RunStore, index: Index, benchmarks: Sequence[Benchmark]) -> None:
    """Make and store every score that is missing.

    Args:
        plan: The plan.
        store: The run.
        index: Its records, samples complete.
        benchmarks: The benchmarks of the suite.
    """
    prompts = {prompt.prompt_id: prompt for prompt in plan.prompts}
    for key, scorer in unique_scorers(benchmarks).items():
        pending = {
            made: item
            for item in plan.items
            if (record := index.samples.get(item.sample_key or "")) is not None
            and (made := score_key(sample_digest(record), key, prompts[item.prompt_id]))
            not in index.scores
        }
        with progress(f"Scoring with {scorer.name}", len(pending), "samples") as advance:
            for chunk in _chunks(list(pending.items())):
                refs = _references(chunk, store, index, prompts)
                store.add(_score_batch(scorer, refs))
                advance(len(chunk))


def _chunks(pending: Sequence[tuple[str, WorkItem]]) -> Iterator[Sequence[tuple[str, WorkItem]]]:
    for start in range(0, len(pending), BATCH):
        yield pending[start : start + BATCH]


def _references(
    chunk: Sequence[tuple[str, WorkItem]],
    store: RunStore,
    index: Index,
    prompts: Mapping[str, PromptRecord],
) -> dict[str, SampleRef]:
    """Return the samples of a batch by score key; damaged ones are failures and set aside."""
    refs: dict[str, SampleRef] = {}
    for key, item in chunk:
        record = index.samples[item.sample_key or ""]
        try:
            store.blobs.read(record["blob"])
        except CorruptBlobError as fault:
            store.blobs.discard(record["blob"])
            store.add([_failure(item.item_id, record["key"], "corrupt", f"{fault}; run again", "")])
            continue
        prompt = prompts[item.prompt_id]
        refs[key] = SampleRef(
            sample_key=record["key"],
            item_id=item.item_id,
            digest=sample_digest(record),
            path=store.blobs.path(record["blob"]),
            prompt=prompt.text,
            task=prompt.task,
            metadata=prompt.metadata,
        )
    return refs


def _score_batch(scorer: Scorer, refs: Mapping[str, SampleRef]) -> list[dict[str, Any]]:
    """Score a batch; if that fails, each sample alone, so that one cannot spoil all."""
    if not refs:
        return []
    try:
        return _records(scorer, refs)
    except Exception:  # any fault of a scorer is a record, not the end of the run
        if len(refs) > 1:
            return [row for k, ref in refs.items() for row in _score_batch(scorer, {k: ref})]
        ((_, ref),) = refs.items()
        text = traceback.format_exc()
        message = f"{scorer.name}: {text.strip().splitlines()[-1]}"
        return [_failure(ref.item_id, ref.sample_key, "error", message, text)]


def _records(scorer: Scorer, refs: Mapping[str, SampleRef]) -> list[dict[str, Any]]:
    # A scorer names a sample by its file; two samples of one batch may share one.
    groups: list[list[tuple[str, SampleRef]]] = []
    for key, ref in refs.items():
        for group in groups:
            if all(other.digest != ref.digest for _, other in group):
                group.append((key, ref))
                break
        else:
            groups.append([(key, ref)])
    records = []
    for group in groups:
        by_digest: dict[str, list[Score]] = {}
        for made in scorer([ref for _, ref in group]):
            by_digest.setdefault(made.sample_digest, []).append(made)
        for key, ref in group:
            records.append(_record(key, ref, scorer, by_digest.get(ref.digest, [])))
    return records


def _record(key: str, ref: SampleRef, scorer: Scorer, scores: Sequence[Score]) -> dict[str, Any]:
    if not scores:
        raise ValueError(f"expected at least one score for sample {ref.item_id}, got none")
    values = [
        {
            "metric": made.metric,
            "value": made.value,
            "reason": made.reason,
            "details": dict(made.details),
        }
        for made in scores
    ]
    canonical_json(values)  # NaN or an unknown type must fail here, beside the scorer's name
    return {
        "kind": "score",
        "status": "ok",
        "key": key,
        "item_id": ref.item_id,
        "sample_digest": ref.digest,
        "scorer": scorer.name,
        "version": scorer.version,
        "scores": values,
    }


def _failure(item_id: str, key: str, status: str, message: str, details: str) -> dict[str, Any]:
    return {
        "kind": "failure",
        "key": key,
        "item_id": item_id,
        "stage": "score",
        "status": status,
        "message": message,
        "traceback": details,
        "attempts": 1,
        "at": now(),
    }
