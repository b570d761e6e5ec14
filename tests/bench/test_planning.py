"""The plan: keys, seeds, batches and limits."""

import hashlib
from collections import Counter

from rcm_bench.canonical import canonical_json
from rcm_bench.prepare import prepare
from rcm_bench.prompt_sets import stratified
from rcm_bench.seeds import seed_of
from rcm_bench.suite_load import load_suite
from rcm_bench.types import PromptRecord, Reference


def plan_of(path):
    return prepare(load_suite(str(path), {})).plan


def test_seed_is_the_published_recipe():
    inner = hashlib.sha256("ein Stern ☆".encode()).hexdigest()
    digest = hashlib.sha256(f"rcm-bench-1|{inner}|3".encode()).digest()
    expected = int.from_bytes(digest[:8], "big") % 2**63
    assert seed_of("ein Stern ☆", 3) == expected
    seeds = {seed_of(text, index) for text in ("a", "b") for index in range(50)}
    assert len(seeds) == 100 and all(0 <= seed < 2**63 for seed in seeds)


def test_canonical_json():
    assert canonical_json({"b": 0.1, "a": ["é", None, True]}) == '{"a":["é",null,true],"b":0.1}'


def test_items(suite):
    plan = plan_of(suite())
    assert len(plan.items) == (2 + 2) * 6 * 3
    assert len({item.item_id for item in plan.items}) == len(plan.items)
    assert plan.reference() == Reference(model="teacher", steps=4)
    assert list(plan.cells()) == [("teacher", 1), ("teacher", 4), ("student", 1), ("student", 2)]
    sizes = [len(batch) for batch in plan.batches()]
    assert sizes == [8, 8, 2] * 4
    for batch in plan.batches():
        assert len({(item.model, item.steps, item.batch_id) for item in batch}) == 1
    # Student and teacher start from the same noise.
    by_cell = {}
    for item in plan.items:
        by_cell.setdefault((item.model, item.steps), []).append(item.seed)
    assert len({tuple(seeds) for seeds in by_cell.values()}) == 1


def keys(plan):
    return {item.item_id: item.sample_key for item in plan.items}


def test_sample_key_holds_what_decides_a_sample_and_nothing_else(suite):
    base = keys(plan_of(suite()))
    same = [
        {"batch_size: 8": "batch_size: 5"},
        {"suite: tiny": "suite: other\nabout: words"},
        {"samples_per_prompt: 3": "samples_per_prompt: 2"},
        {"few: {kind: consistency}": "few: {kind: consistency, preset: paper}"},
    ]
    for change in same:
        other = keys(plan_of(suite(**change)))
        assert other.items() <= base.items(), change
    changed = keys(plan_of(suite(**{"kind: euler}": "kind: euler, shift: 2.0}"})))
    differs = [item for item in base if base[item] != changed[item]]
    assert len(differs) == len(base) / 2
    changed = keys(plan_of(suite(**{"level: 0.9": "level: 0.8"})))
    assert sum(base[item] != changed[item] for item in base) == len(base) / 2


def test_every_head_of_the_prompts_is_stratified():
    prompts = [
        PromptRecord(prompt_id=f"{task}{i}", text="x", task=task)
        for task, count in (("a", 40), ("b", 20), ("c", 5))
        for i in range(count)
    ]
    ordered = stratified(prompts)
    assert Counter(p.prompt_id for p in ordered) == Counter(p.prompt_id for p in prompts)
    for size in range(1, len(ordered) + 1):
        counts = Counter(p.task for p in ordered[:size])
        for task, total in (("a", 40), ("b", 20), ("c", 5)):
            assert abs(counts[task] - size * total / 65) < 1.01, (size, task)
