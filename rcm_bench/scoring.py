"""Scoring: stored samples to score records; nothing is sampled, equal scores are made once."""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby, islice
from typing import Any, NamedTuple

from rcm_bench.canonical import canonical_json, digest_of
from rcm_bench.errors import UserError
from rcm_bench.feature_files import KEY, REAL, SUFFIX, encode_features
from rcm_bench.planning import Plan
from rcm_bench.progress import progress
from rcm_bench.store import Index, RunStore, now
from rcm_bench.store_blobs import Blobs, CorruptBlobError
from rcm_bench.types import (
    Benchmark,
    CellScorer,
    PromptRecord,
    SampleRef,
    Score,
    Scorer,
    WorkItem,
)

BATCH = 64


def scorers_of(benchmark: Benchmark) -> list[Scorer]:
    """Return all scorers of a benchmark: several where its parts are scored, and fail, apart."""
    several = getattr(benchmark, "scorers", None)
    if several is not None:
        return list(several())
    one = benchmark.scorer()  # None for one that only measures time
    return [] if one is None else [one]


def applies(scorer: Scorer, prompt: PromptRecord) -> bool:
    """Say whether a scorer owes a score to the samples of a prompt."""
    return not isinstance(scorer, CellScorer) or scorer.applies(prompt)


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
        for scorer in scorers_of(benchmark):
            found.setdefault(scorer_key(scorer), scorer)
    return found


def scores_per_sample(plan: Plan, benchmarks: Sequence[Benchmark]) -> float:
    """Return how many scorers owe a score to a sample, on average over the plan."""
    scorers = unique_scorers(benchmarks).values()
    owed = {p.prompt_id: sum(applies(s, p) for s in scorers) for p in plan.prompts}
    return sum(owed[item.prompt_id] for item in plan.items) / max(1, len(plan.items))


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
    for key, scorer in unique_scorers(benchmarks).items():
        groups = _groups(plan, index, key, scorer)
        scorer = scorer.at(store.root) if isinstance(scorer, CellScorer) else scorer
        total = sum(len(group.pending) for group in groups)
        if not total:
            continue
        with (
            _one_thread(),
            progress(f"Scoring with {scorer.name}", total, "samples") as advance,
        ):
            for group in groups:
                refs = _references(group, store)
                made = _score_batch(scorer, refs, store.blobs) if refs is not None else []
                store.add([row for row in made if row["item_id"] in group.pending])
                advance(len(group.pending))


class _Group(NamedTuple):
    """Samples that are scored together, by score key, and the item ids that lack a score."""

    members: dict[str, tuple[WorkItem, PromptRecord, Mapping[str, Any]]]
    pending: frozenset[str]


def _companies(plan: Plan, scorer: Scorer) -> Iterator[list[WorkItem]]:
    """Yield the items that are scored in one company: a planned batch, a prompt's, a whole cell's.

    All of a prompt's in a cell come together where the scorer says ``by_prompt``.
    """
    if isinstance(scorer, CellScorer):
        cells = groupby(plan.items, key=lambda item: (item.model, item.steps))
        yield from (list(members) for _, members in cells)
    elif getattr(scorer, "by_prompt", False):
        prompts = groupby(plan.items, key=lambda item: (item.model, item.steps, item.prompt_id))
        yield from (list(members) for _, members in prompts)
    else:
        yield from plan.batches()


def _groups(plan: Plan, index: Index, key_of: str, scorer: Scorer) -> list[_Group]:
    """Arrange samples by company, whole even where little is missing.

    The last digits of a score may depend on the company that a sample is scored in; so the company
    is the plan's, whatever an earlier process had done already.
    """
    prompts = {prompt.prompt_id: prompt for prompt in plan.prompts}
    groups = []
    whole = isinstance(scorer, CellScorer)
    for batch in _companies(plan, scorer):
        keyed: dict[str, tuple[WorkItem, PromptRecord, Mapping[str, Any]]] = {}
        for item in batch:
            record = index.samples.get(item.sample_key or "")
            prompt = prompts[item.prompt_id]
            if record is not None and applies(scorer, prompt):
                key = score_key(sample_digest(record), key_of, prompt)
                keyed.setdefault(key, (item, prompt, record))
        size = len(keyed) if whole else BATCH
        for start in range(0, len(keyed), size or BATCH):
            members = dict(islice(keyed.items(), start, start + size))
            pending = {item.item_id for k, (item, *_) in members.items() if k not in index.scores}
            if pending:
                groups.append(_Group(members, frozenset(pending)))
    return groups


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread.

    A scorer's many small operations lose more by waiting for other threads than they gain (a tenth
    of the speed on a busy machine), and its values do not depend on the number of cores.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _references(group: _Group, store: RunStore) -> dict[str, SampleRef] | None:
    """Return the samples of a group by score key; None if a file among them is damaged.

    A damaged file becomes a failure and is set aside; the group waits until it is sampled again.
    """
    refs: dict[str, SampleRef] = {}
    whole = True
    for key, (item, prompt, record) in group.members.items():
        try:
            store.blobs.read(record["blob"])
        except CorruptBlobError as fault:
            whole = False
            store.blobs.discard(record["blob"])
            store.add([_failure(item.item_id, record["key"], "corrupt", f"{fault}; run again", "")])
        refs[key] = SampleRef(
            sample_key=record["key"],
            item_id=item.item_id,
            digest=sample_digest(record),
            path=store.blobs.path(record["blob"]),
            prompt=prompt.text,
            task=prompt.task,
            metadata=prompt.metadata,
            seed_index=item.seed_index,
        )
    return refs if whole else None


def _score_batch(
    scorer: Scorer, refs: Mapping[str, SampleRef], blobs: Blobs
) -> list[dict[str, Any]]:
    """Score a batch; if that fails, each sample alone, so that one cannot spoil all."""
    try:
        return _records(scorer, refs, blobs)
    except Exception as fault:  # any fault of a scorer is a record, not the end of the run
        if len(refs) > 1 and not isinstance(scorer, CellScorer):
            return [row for k, ref in refs.items() for row in _score_batch(scorer, {k: ref}, blobs)]
        text = traceback.format_exc()
        last = text.strip().splitlines()[-1].removeprefix(f"{type(fault).__module__}.")
        said = str(fault) if isinstance(fault, UserError) else last
        message = f"{scorer.name}: {said}"
        return [
            _failure(ref.item_id, ref.sample_key, "error", message, text) for ref in refs.values()
        ]


def _records(scorer: Scorer, refs: Mapping[str, SampleRef], blobs: Blobs) -> list[dict[str, Any]]:
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
            made_of_it = by_digest.get(ref.digest, [])
            records.append(_record(key, ref, scorer, made_of_it, blobs))
    return records


def _record(
    key: str, ref: SampleRef, scorer: Scorer, scores: Sequence[Score], blobs: Blobs
) -> dict[str, Any]:
    if not scores:
        raise ValueError(f"expected at least one score for sample {ref.item_id}, got none")
    values = [
        {
            "metric": made.metric,
            "value": made.value,
            "reason": made.reason,
            "details": _details(made, blobs),
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


def _details(made: Score, blobs: Blobs) -> dict[str, Any]:
    """Return the details of a score; its features become a file first, so that records stay small.

    A worker that dies in between leaves a file that no record names.
    """
    if made.features is None:
        return dict(made.details)
    details = {**made.details, KEY: _put(blobs, encode_features(made.features))}
    if made.real_features is not None:
        details[REAL] = _put_once(blobs, made.real_features)
    return details


def _put(blobs: Blobs, data: bytes) -> str:
    (name,) = blobs.put([data], lambda _: SUFFIX)
    return name


# A set's features are some ten megabytes, the same for every sample.
_put_once = lru_cache(maxsize=4)(_put)


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
