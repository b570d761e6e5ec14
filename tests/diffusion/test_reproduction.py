"""The reproduction kit from its first stage to the whole, on tiny models and the stand-in."""

import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from vbench_stand_in import standing

import rcm_bench
from rcm_bench import sampling
from rcm_bench.canonical import file_digest
from rcm_bench.diffusion import engine as engine_module
from rcm_bench.statistics.vbench_dimensions import GROUPS, NAMES, TOTALS, totals
from rcm_bench.vbench import prompts
from rcm_bench.vbench.dimensions import NATIVE, WEIGHTS, WITH_AUXILIARY

AUXILIARY = {"object_class": {"object": "cat"}, "color": {"color": "red"}}
PER_GROUP = 2
TINY = """\
suite: tiny-{name}
extends: {name}
models:
  teacher: &
    {{weights: {root}, steps: [2], resolution: [32, 32], frames: 5, dtype: float32,
     text_dtype: float32, max_tokens: 16}}
  student:
    {{weights: {root}, resolution: [32, 32], frames: 5, dtype: float32, text_dtype: float32,
     max_tokens: 16}}
steps: [1]
prompts: {{info: info.json, rewritten: long.txt, samples_per_prompt: 1}}
benchmarks: {{vbench: {{device: cpu, delegated: [{native}]}}}}
reuse: [{reuse}]
""".replace("teacher: &\n", "teacher:\n")


@pytest.fixture
def kit(wan, tmp_path, monkeypatch):
    """What the kit needs: VBench's environment, its two files of prompts, a student."""
    cache = tmp_path / "weights"
    root = standing(tmp_path / "environment", WEIGHTS, cache)
    monkeypatch.setenv("RCM_BENCH_VBENCH", str(root))
    monkeypatch.setenv("VBENCH_CACHE_DIR", str(cache))
    monkeypatch.delenv("STAND_IN", raising=False)
    monkeypatch.setenv("STUDENT", str(tmp_path / "student.safetensors"))
    monkeypatch.setattr("rcm_reports.write_plots", lambda report, out: [])
    monkeypatch.setattr("rcm_reports.render", lambda report, out: out / "index.html")
    rows = [
        {"prompt_en": f"{names[0]} number {i}", "dimension": list(names),
         "auxiliary_info": {n: AUXILIARY.get(n, {n: "x"}) for n in names if n in WITH_AUXILIARY}}
        for _, names in GROUPS for i in range(PER_GROUP)
    ]  # fmt: skip
    (tmp_path / "info.json").write_text(json.dumps(rows))
    (tmp_path / "long.txt").write_text("".join(f"a photo of {i} cats\n" for i in range(len(rows))))
    monkeypatch.setattr(prompts, "INFO_SHA256", file_digest(tmp_path / "info.json"))
    digest = file_digest(tmp_path / "long.txt")
    monkeypatch.setitem(prompts.REWRITTEN, "gpt-4o", ("long.txt", digest))
    write = sampling.encode

    def marked(media):
        """Add a box that players skip: the stand-in keeps what says "static", and drops a quarter
        of the files from colour, by their digest."""
        for n in range(64):
            data = write(media) + (15).to_bytes(4, "big") + b"freestatic" + bytes([n])
            if int(hashlib.sha256(data).hexdigest()[:8], 16) > 2**30:
                return data
        raise AssertionError

    monkeypatch.setattr(sampling, "encode", marked)
    state = wan[1].transformer.state_dict()
    save_file({n: v * 1.01 for n, v in state.items()}, tmp_path / "student.safetensors")

    def stage(name, reuse="", folder="out"):
        path = tmp_path / f"tiny-{name}.yaml"
        native = ", ".join(NATIVE)
        path.write_text(TINY.format(name=name, root=wan[0], native=native, reuse=reuse))
        return rcm_bench.run(str(path), tmp_path / folder)

    return stage


def values(outcome):
    table = outcome.measurements
    return table[table["benchmark"] == "vbench"].set_index(["metric", "model"])["value"]


@pytest.mark.slow
def test_each_stage_takes_what_the_one_before_it_sampled(kit, tmp_path, monkeypatch):
    made, real = [], engine_module.Engine.generate

    def counted(self, items):
        made.extend(items)
        return real(self, items)

    monkeypatch.setattr(engine_module.Engine, "generate", counted)
    monkeypatch.setenv("DIMENSION", "motion_smoothness")
    first = kit("reproduce_wan", folder="first")
    assert first.whole and len(made) == PER_GROUP * 2
    found = values(first)
    assert 0 <= found["motion_smoothness", "teacher"] <= 1
    assert not {name for name, _ in found.dropna().index} & set(TOTALS)

    quality = kit("reproduce_wan_quality", reuse=str(tmp_path / "first"), folder="quality")
    flickering = 5 * PER_GROUP  # has five times as many
    assert quality.whole and len(made) == 2 * (3 * PER_GROUP + flickering)
    part = values(quality)
    assert ("semantic", "student") not in part and math.isnan(part["total", "student"])

    whole = kit("vbench_wan", reuse=str(tmp_path / "quality"), folder="whole")
    assert whole.whole and len(made) == 2 * (10 * PER_GROUP + flickering)
    all_ = values(whole)
    for model in ("teacher", "student"):
        raw = np.array([all_[name, model] for name in NAMES])
        for name, value in totals(raw).items():
            assert all_[name, model] == pytest.approx(float(value), rel=1e-9)
        assert part["quality", model] == all_["quality", model]
        assert found["motion_smoothness", model] == all_["motion_smoothness", model]
