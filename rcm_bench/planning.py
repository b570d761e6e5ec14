"""The plan: every sample that a suite asks for, with its keys; pure, anybody can remake it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, TypeVar

from rcm_bench.canonical import digest_of
from rcm_bench.media import CODEC
from rcm_bench.seeds import seed_of
from rcm_bench.suite import ModelEntry, Suite
from rcm_bench.types import PromptRecord, Reference, WorkItem
from rcm_bench.unrecorded import NO_SEED, is_brought

KEY_SCHEMA = 1
NOISE = "torch-cpu-float32"  # one torch.Generator on the CPU per sample, standard normal in float32
_ITEM_ID_LENGTH = 16
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All work of a suite, in the order in which it is done.

    Args:
        suite: The resolved suite.
        prompts: Prompts, interleaved by task.
        identities: What decides the samples of each model, its weights first of all.
        items: One for each (model, steps, prompt, seed).
    """

    suite: Suite
    prompts: Sequence[PromptRecord]
    identities: Mapping[str, Mapping[str, Any]]
    items: Sequence[WorkItem]

    def batches(self) -> Iterator[list[WorkItem]]:
        """Yield the planned batches: the unit of sampling and of resuming."""
        for _, members in groupby(self.items, key=lambda item: item.batch_id):
            yield list(members)

    def limited(self, limit: int | None) -> frozenset[str]:
        """Return the prompt ids of the first ``limit`` prompts: a stratified part of all."""
        chosen = self.prompts if limit is None else self.prompts[:limit]
        return frozenset(prompt.prompt_id for prompt in chosen)

    def reference(self) -> Reference:
        """Return the teacher at its largest number of steps."""
        name, entry = next((n, m) for n, m in self.suite.models.items() if m.role == "teacher")
        return Reference(model=name, steps=max(steps_of(self.suite, entry)))

    def cells(self) -> Iterator[tuple[str, int]]:
        """Yield (model, steps) in the suite's order."""
        for name, entry in self.suite.models.items():
            for steps in steps_of(self.suite, entry):
                yield name, steps

    def digest(self) -> str:
        """Return a digest of all sample keys and batches."""
        return digest_of([[item.item_id, item.sample_key, item.batch_id] for item in self.items])


def steps_of(suite: Suite, entry: ModelEntry) -> list[int]:
    """Return the step counts of a model: its own, else the suite's."""
    return entry.steps or suite.steps


def make_plan(
    suite: Suite, prompts: Sequence[PromptRecord], identities: Mapping[str, Mapping[str, Any]]
) -> Plan:
    """Expand a suite into work items.

    Args:
        suite: The resolved suite.
        prompts: Its prompts, interleaved by task.
        identities: ``Model.identity()`` of each model.
    """
    items: list[WorkItem] = []
    cells = [(n, m, steps) for n, m in suite.models.items() for steps in steps_of(suite, m)]
    seeds = {prompt.prompt_id: seeds_of(prompt, suite) for prompt in prompts}
    for cell, (name, entry, steps) in enumerate(cells):
        brought = is_brought(identities[name])
        pairs = ((p, i) for p in prompts for i in range(len(seeds[p.prompt_id])))
        for chunk, batch in enumerate(_chunks(pairs, suite.run.batch_size)):
            for prompt, index in batch:
                seed = seeds[prompt.prompt_id][index]
                seen = seen_by_model(prompt)
                items.append(
                    WorkItem(
                        item_id=_item_id(name, entry.sampler, steps, prompt.prompt_id, index),
                        sample_key=brought_key(identities[name], steps, prompt.text, index)
                        if brought
                        else sample_key(
                            suite, identities[name], entry.sampler, steps, prompt.text, seed, seen
                        ),
                        model=name,
                        sampler=entry.sampler,
                        steps=steps,
                        prompt_id=prompt.prompt_id,
                        prompt=prompt.text,
                        prompt_rewritten=seen,
                        seed_index=index,
                        seed=NO_SEED if brought else seed,
                        batch_id=f"{cell:03d}.{chunk:06d}",
                    )
                )
    return Plan(suite=suite, prompts=prompts, identities=identities, items=items)


def _chunks(values: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(islice(values, size)):
        yield chunk


def _item_id(model: str, sampler: str, steps: int, prompt_id: str, index: int) -> str:
    return digest_of([model, sampler, steps, prompt_id, index])[:_ITEM_ID_LENGTH]


def seeds_of(prompt: PromptRecord, suite: Suite) -> list[int]:
    """Return the seed of each sample of a prompt: its set's own, or those of the suite's recipe."""
    given = prompt.metadata.get("seeds")
    if given is not None and "vbench" in prompt.metadata:
        return [int(seed) for seed in given]
    count = suite.prompts.samples_per_prompt
    return [seed_of(prompt.text, index, suite.protocol.seeds) for index in range(count)]


def seen_by_model(prompt: PromptRecord) -> str:
    """Return what a model sees of a prompt: the rewritten one, where its set has one."""
    return str(prompt.metadata.get("rewritten", prompt.text))


def sample_key(
    suite: Suite,
    identity: Mapping[str, Any],
    sampler: str,
    steps: int,
    prompt: str,
    seed: int,
    rewritten: str | None = None,
) -> str:
    """Return the SHA-256 of everything that decides a sample, and of nothing else.

    Batch size, limit, number of workers and machine are recorded beside a sample, not in its key.
    """
    return digest_of(
        {
            "schema": KEY_SCHEMA,
            "model": dict(identity),
            "sampler": suite.samplers[sampler],
            "steps": steps,
            "prompt": prompt,
            "prompt_rewritten": prompt if rewritten is None else rewritten,
            "negative_prompt": None,
            "seed": seed,
            "noise": NOISE,
            "codec": CODEC,
        }
    )


def brought_key(identity: Mapping[str, Any], steps: int, prompt: str, index: int) -> str:
    """Return the key of a sample that was made elsewhere.

    Its model's identity holds a digest of all its files; what made them is not known.

    Args:
        identity: ``Model.identity()``.
        steps: Number of steps.
        prompt: The prompt as given.
        index: Which of the samples of its prompt it is, from 0.
    """
    return digest_of([KEY_SCHEMA, dict(identity), steps, prompt, index])
