"""The 553 prompts, byte for byte as published, in a suite and as files."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from rcm_bench import geneval_prompts
from rcm_bench.errors import UserError
from rcm_bench.geneval_prompts import COLORS, METADATA_FILE, NAMES, PROMPTS_FILE, official_metadata
from rcm_bench.prepare import prepare
from rcm_bench.prompt_sets import prompt_key
from rcm_bench.published import OFFICIAL_PROMPTS, prompts_mark
from rcm_bench.suite_load import load_suite
from rcm_bench.verbs.prompts import prompts

PUBLISHED = {
    "evaluation_metadata.jsonl": "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13",
    "generation_prompts.txt": "55b6e3650e980c13daf30569eb666e000faf19bfc2b7b4cbe999fcdb7aa9d680",
}


def test_the_verb_writes_the_published_bytes(tmp_path):
    written = prompts("geneval", tmp_path / "official")
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in written}
    assert found == PUBLISHED


def test_tasks_names_and_their_quirks():
    records = official_metadata()
    counts = Counter(record["tag"] for record in records)
    assert counts == {"single_object": 80, "two_object": 99, "counting": 80, "colors": 94,
                      "position": 100, "color_attr": 100}  # fmt: skip
    texts = [record["prompt"] for record in records]
    assert len(set(texts)) == 553
    assert any("benchs" in text for text in texts) and any("wine glasses" in t for t in texts)
    names = hashlib.sha256("".join(f"{name}\n" for name in NAMES).encode()).hexdigest()
    assert names == "608f6a0e5c8ca1c7a92b818430141fe268c85b7930b50f4160f1d65893b5bacd"
    assert len(NAMES) == 80 and len(COLORS) == 10
    coloured = {c["class"] for r in records for c in r["include"] if "color" in c}
    assert "person" not in coloured and len(coloured) > 70


def test_another_generator_is_an_error_and_no_other_benchmark(monkeypatch):
    real = np.random.default_rng
    monkeypatch.setattr(geneval_prompts.np.random, "default_rng", lambda seed: real(seed + 1))
    with pytest.raises(UserError, match=f"{PROMPTS_FILE}: expected SHA-256 55b6e3650e98"):
        official_metadata()


def test_one_byte_more_is_an_error():
    files = geneval_prompts.official_files(official_metadata())
    files[METADATA_FILE] += "\n"
    with pytest.raises(UserError, match=f"{METADATA_FILE}: expected SHA-256 5c48e0813e81"):
        geneval_prompts.check_files(files)


def test_a_suite_names_the_set(suite):
    """Its prompts are those that published numbers are shown beside."""
    path = suite(**{"file: prompts.txt, samples_per_prompt: 3": "set: geneval"})
    plan = prepare(load_suite(str(path), {})).plan
    assert len(plan.prompts) == 553 and len(plan.items) == 553 * 4 * 4
    assert prompts_mark([prompt_key(p) for p in plan.prompts]) == OFFICIAL_PROMPTS["geneval"]
    assert [p.prompt_id[:5] for p in sorted(plan.prompts, key=lambda p: p.prompt_id)] == [
        f"{i:05d}" for i in range(553)
    ]


@pytest.mark.parametrize("key", ["per_task: 3", "seed: 1"])
def test_nothing_of_the_set_can_be_chosen(suite, key):
    path = suite(**{"file: prompts.txt": f"set: geneval, {key}"})
    with pytest.raises(UserError, match=f"prompts.{key[:4]}.*: belongs to 'set: lab'; GenEval's"):
        prepare(load_suite(str(path), {}))
