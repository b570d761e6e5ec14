"""The shipped suite of other models on GenEval: its plan, and a run with tiny ones of each kind."""

import json

import pytest
import tiny_models
import tiny_pipelines
from safetensors.torch import save_file
from test_pipelines import ARGUMENTS

import rcm_bench
from rcm_bench.store import RunStore
from rcm_bench.suite_load import load_suite

PEERS = {"sdxl": "sdxl", "sd3.5-medium": "sd3", "flux.1-schnell": "flux"}


def test_the_plan_says_what_is_missing_its_size_and_how_to_get_it():
    found = rcm_bench.plan("geneval_peers")
    assert [(c.model, c.steps, c.evaluations // c.samples) for c in found.cells[-3:]] == [
        ("sdxl", 50, 100), ("sd3.5-medium", 40, 80), ("flux.1-schnell", 4, 4),
    ]  # fmt: skip
    for hub, size in (("stable-diffusion-xl-base-1.0 at 462165984030", 7),
                      ("stable-diffusion-3.5-medium at b940f670f0ed", 16),
                      ("FLUX.1-schnell at 741f7c3ce8b3", 34)):  # fmt: skip
        (said,) = [text for text in found.missing if hub in text]
        assert f"is not on this machine (about {size} GB as bfloat16); get it: hf download " in said


@pytest.mark.long
def test_from_plan_to_images(cosmos, tmp_path, monkeypatch):
    """Every model as it stands in the suite, but for sizes; samplers and kinds are the suite's."""
    monkeypatch.setattr("rcm_reports.write_plots", lambda report, out: [])
    monkeypatch.setattr("rcm_reports.render", lambda report, out: out / "index.html")
    monkeypatch.setattr("rcm_bench.timing.ROUNDS", 1)
    root, pipe = cosmos
    data = load_suite("geneval_peers", {}).data
    for name, entry in data["models"].items():
        entry |= {"resolution": [32, 32], "dtype": "float32"}
        entry["steps"] = entry["steps"] and [2]
        if name in PEERS:
            tiny_pipelines.save(PEERS[name], tmp_path / name)
            entry["weights"] = str(tmp_path / name)
            entry["arguments"] = ARGUMENTS[PEERS[name]]
        else:
            entry |= {"weights": str(root), "text_dtype": "float32", "max_tokens": 16}
    student = tiny_models.randomized(type(pipe.transformer)(**pipe.transformer.config))
    save_file(student.state_dict(), tmp_path / "rcm-cosmos-2b.safetensors")
    data |= {"benchmarks": {"latency": {}}, "variables": {}, "published": []}
    data["prompts"] = {"file": "prompts.txt", "samples_per_prompt": 1}
    data["models"] = {name: {key: value for key, value in entry.items() if value is not None}
                      for name, entry in data["models"].items()}  # fmt: skip
    (tmp_path / "prompts.txt").write_text("a photo of a cat\ntwo dogs on the beach\n")
    path = tmp_path / "small.yaml"
    kept = {key: value for key, value in data.items() if value is not None and key != "extends"}
    path.write_text(json.dumps(kept))
    assert rcm_bench.plan(str(path)).missing == []
    assert rcm_bench.run(str(path), tmp_path / "run").done
    records = RunStore.open(tmp_path / "run").index().samples.values()
    assert len(records) == 2 * 7 and all(record["flags"] == [] for record in records)
    # Guidance doubles the evaluations of SDXL and SD3.5, and is an input of FLUX.
    assert sorted(record["nfe"] for record in records) == sorted(2 * [4, 1, 2, 4] + 2 * [4, 4, 2])
