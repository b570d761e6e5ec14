"""The shipped suites for Wan2.1 and Cosmos-Predict2: planned without weights and without torch."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

import rcm_bench
from rcm_bench.errors import UserError
from rcm_bench.prepare import prepare
from rcm_bench.statistics.vbench_dimensions import DIMENSIONS, GROUPS
from rcm_bench.suite_load import load_suite
from rcm_bench.vbench.dimensions import WITH_AUXILIARY

INFO = [
    {
        "prompt_en": f"{names[0]} number {i}",
        "dimension": list(names),
        "auxiliary_info": {name: {name: "x"} for name in names if name in WITH_AUXILIARY},
    }
    for _, names in GROUPS
    for i in range(2)
]


def test_what_scorers_download_is_said(tmp_path):
    commit = "0123456789abcdef" * 2 + "01234567"
    (tmp_path / "s.yaml").write_text(
        "suite: s\nextends: quickstart\nbenchmarks:\n"
        f"  pick_score: {{network: {{weights: some/clip, revision: {commit}}}}}\n"
        f"  feature_diversity: {{dino: {{weights: some/dino, revision: {commit}}}}}\n"
    )
    found = rcm_bench.plan(str(tmp_path / "s.yaml"))
    assert found.fetched == [f"some/clip at {commit[:12]}", f"some/dino at {commit[:12]}"]
    assert rcm_bench.plan("quickstart").fetched == []


def test_throughput_is_planned_whole():
    found = rcm_bench.plan("throughput_wan")
    assert found.missing == [] and found.machine == "on one H100"
    assert [(c.model, c.steps, c.evaluations) for c in found.cells] == [
        ("teacher", 50, 100), ("stock-teacher", 50, 100),
        ("rcm", 1, 1), ("rcm", 2, 2), ("rcm", 4, 4),
    ]  # fmt: skip
    large = rcm_bench.plan("throughput_wan_14b")
    assert large.missing == [] and [c.steps for c in large.cells] == [50, 1, 2, 4]


def test_too_little_space_is_refused_at_the_plan(monkeypatch):
    found = rcm_bench.plan("geneval_peers")
    assert found.counts["num_items"] > 0
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=30e9))
    with pytest.raises(UserError, match="expected 31104 MB of free space .*, got 30000 MB; free "):
        rcm_bench.plan("geneval_peers")


def test_geneval_says_all_that_is_missing():
    found = rcm_bench.plan("geneval_cosmos")
    assert found.counts["num_items"] == 4 * 553 * 4
    weights, student, detector = found.missing
    assert weights.startswith("nvidia/Cosmos-Predict2-2B-Text2Image at acdb5fde992a is not on this")
    assert "(about 14 GB as bfloat16" in weights
    assert "models.student.transformer: rcm-cosmos-2b.safetensors: no such file" in student
    assert "detector" in detector and "743b7d99.pth" in detector
    with pytest.raises(UserError, match="(?s)is not on this machine.*no such file"):
        rcm_bench.run("geneval_cosmos", "never-made")


ASKED = {
    "vbench_wan": set(GROUPS),
    "reproduce_wan": {g for g in GROUPS if "subject_consistency" in g[1]},
    "reproduce_wan_quality": {
        g for g in GROUPS if any(DIMENSIONS[name].part == "quality" for name in g[1])
    },
}


@pytest.mark.parametrize("name", ASKED)
def test_vbench_with_its_prompts(name, tmp_path, monkeypatch):
    """The package's own file of prompts is all that a plan needs; here a small one of its form."""
    from rcm_bench.canonical import file_digest
    from rcm_bench.vbench import prompts

    (tmp_path / "info.json").write_text(json.dumps(INFO))
    (tmp_path / "long.txt").write_text("".join(f"{i}: a long story\n" for i in range(len(INFO))))
    monkeypatch.setattr(prompts, "INFO_SHA256", file_digest(tmp_path / "info.json"))
    digest = file_digest(tmp_path / "long.txt")
    monkeypatch.setitem(prompts.REWRITTEN, "gpt-4o", ("long.txt", digest))
    suite = tmp_path / "small.yaml"
    suite.write_text(
        f"suite: small\nextends: {name}\nprompts: {{info: info.json, rewritten: long.txt}}\n"
    )
    prepared = prepare(load_suite(str(suite), {}))
    assert any("Wan-AI/Wan2.1-T2V-1.3B-Diffusers at 0fad780a534b" in t for t in prepared.missing)
    lines = {
        f"{i}: a long story"
        for i, info in enumerate(INFO)
        if any(info["dimension"] == list(names) for _, names in ASKED[name])
    }
    assert {i.prompt_rewritten for i in prepared.plan.items} == lines
    assert {(i.model, i.steps) for i in prepared.plan.items} == {
        ("teacher", 50), ("student", 1), ("student", 2), ("student", 4),
    }  # fmt: skip


def test_a_plan_that_ends_at_its_prompts_says_what_else_is_missing(tmp_path, monkeypatch):
    """VBench's environment, the weights and the student: they are got side by side."""
    monkeypatch.setenv("RCM_BENCH_CACHE", str(tmp_path))
    for name, hub in (("vbench_wan", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
                      ("vbench_cosmos", "nvidia/Cosmos-Predict2-2B-Video2World")):  # fmt: skip
        with pytest.raises(UserError) as caught:
            rcm_bench.plan(name)
        environment, weights, student = str(caught.value).splitlines()
        assert "python -m rcm_bench.vbench build" in environment
        assert weights.startswith(f"{hub} at ") and "get it: hf download" in weights
        assert "models.student.transformer: rcm-" in student


@pytest.mark.parametrize("name", ["throughput_wan", "geneval_cosmos", "geneval_peers"])
def test_a_plan_needs_neither_torch_nor_diffusers(name):
    code = (
        "import shutil, sys, types, rcm_bench;"
        "shutil.disk_usage = lambda path: types.SimpleNamespace(free=1e15);"
        f"rcm_bench.plan('{name}');"
        "sys.exit(any(m in sys.modules for m in ('torch', 'diffusers', 'transformers')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_plan_in_words():
    from typer.testing import CliRunner

    from rcm_bench.cli import app

    said = CliRunner().invoke(app, ["plan", "geneval_cosmos"])
    assert said.exit_code == 0, said.output
    text = " ".join(said.output.split())
    assert "Missing: nvidia/Cosmos-Predict2-2B-Text2Image at acdb5fde992a" in text
    assert "A run cannot start yet." in text and "on one H100" in text
    # open_clip takes its tag from the hub when the scorer is loaded: a plan must not deny it.
    assert "nothing is downloaded" not in text
    assert "Downloaded by a run, unless the hub's cache has it: CLIP ViT-L/14 'openai'" in text
