"""A whole study on a CPU, with trainings of seconds: search, trainings, measurement, page."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from rcm_bench.method_study import driver, relay
from rcm_bench.method_study.__main__ import main
from rcm_distill.train import Recipe, train
from rcm_distill.train.recipe import Data, Optimizer

STUDY = Path(__file__).parents[3] / "suites" / "recipes" / "search" / "methods.yaml"


def tiny_teacher(out):
    network = {"width": 32, "depth": 1, "num_heads": 2, "text_depth": 1, "mlp_ratio": 1}
    recipe = Recipe(
        recipe="tiny-teacher",
        about="a test",
        method="flow_matching",
        network=network,
        data=Data(num_images=64),
        student=Optimizer(lr=1e-3),
        steps=20,
        batch_size=8,
        precision="float32",
    )
    return train(recipe, out, device="cpu").weights


def tiny_study(folder):
    """The committed study with all methods, two seeds, one trial each, and a few iterations."""
    values = yaml.safe_load(STUDY.read_text())
    values |= {
        "study": "tiny",
        "teacher": str(tiny_teacher(folder / "teacher")),
        "budget": {"search": 40, "final": 120, "trials": 1, "batch_size": 4},
        "seeds": [1, 2],
        "validations": 2,
        "data": {"num_images": 64, "seed": 1},
        "precision": "float32",
        "network": {"width": 32},
        "converged": {"window": 0.5, "gain": 0.02, "points": 2, "least": 0.0},
        "measure": {
            **{"steps": [1, 2], "teacher_steps": 2, "per_task": 4},
            **{"prompt_seed": 0, "samples_per_prompt": 2},
        },
    }
    for method in values["methods"].values():
        method["space"] = {key: points[:1] for key, points in method["space"].items()}
    values["sweep"]["values"] = [1.0]
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_goes_through_sessions_to_its_page(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(driver, "STOPPING_SECONDS", 8.0)
    study, out = tiny_study(tmp_path), tmp_path / "out"
    command = [str(study), str(out), "--devices", "0", "--per-device", "2"]
    assert main([*command, "--plan"]) == 0
    assert "rcm-dmd-weight-1: 12 iterations, 6 student updates" in capfd.readouterr().out
    # The first session is too short on purpose: it stops a training, which the next goes on with.
    assert main([*command, "--seconds", "20"]) == 4
    codes = [main([*command, "--seconds", "600"]) for _ in range(2)]
    assert codes == [0, 0], capfd.readouterr()
    report = out / "report"
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    assert main([*command, "--seconds", "600"]) == 0
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before
    page = (report / "README.md").read_text()
    for method in ("rcm", "scm", "dmd2", "meanflow", "dcm"):
        assert f"| {method} | 1 |" in page
    compared = pd.read_csv(report / "comparisons.csv")
    assert set(compared["budget"]) == {"at equal compute", "at equal updates"}
    assert "new prompts and new training seeds" in set(compared["scope"])
    values = pd.read_csv(report / "values.csv")
    trained = {"rcm-seed1", "rcm-seed2", "dcm-seed1", "meanflow-seed1", "rcm-dmd-weight-1"}
    assert trained <= set(values["model"])
    assert {f"{name}-equal-updates" for name in trained} <= set(values["model"])
    search = pd.read_csv(report / "search.csv")
    assert search["chosen"].all()
    assert len(search) == 5


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_is_trained_on_machines_that_keep_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(driver, "STOPPING_SECONDS", 4.0)
    monkeypatch.setattr(relay, "PACK_SECONDS", 1.0)
    study, home, light = tiny_study(tmp_path), tmp_path / "home", tmp_path / "light"
    light.mkdir()
    # The first call is too short for the search, the second for nothing.
    for call, (seconds, code) in enumerate(((35, 4), (900, 0))):
        away, box = tmp_path / f"machine{call}", tmp_path / f"parcel{call}"
        shutil.copytree(light, away)
        run = ["run", str(study), str(away), "--seconds", str(seconds), "--into", str(box)]
        assert relay.main([*run, "--devices", "0", "--at-once", "2"]) == code, capfd.readouterr()
        assert relay.main(["take", str(box), str(home), "--light", str(light)]) == 0
        said = capfd.readouterr().out
        if call == 0:
            first = {path.name for path in (home / "trainings").glob("*")}
    # What came home is not trained again on another machine; all else is.
    everything = {path.name for path in (home / "trainings").glob("*")}
    assert first < everything
    assert first
    assert all((f"{name}: started" in said) == (name not in first) for name in everything)
    assert not list(light.glob("**/*.safetensors"))
    assert main([str(study), str(home), "--devices", "0", "--seconds", "900"]) == 0
    values = pd.read_csv(home / "report" / "values.csv")
    trained = {"rcm-seed1", "rcm-seed2", "dcm-seed1", "meanflow-seed1", "rcm-dmd-weight-1"}
    assert trained | {f"{name}-equal-updates" for name in trained} <= set(values["model"])
    assert "started" not in capfd.readouterr().out, "nothing is trained at home"


def test_a_wrong_study_is_said(tmp_path, capsys):
    assert main([str(tmp_path / "none.yaml"), str(tmp_path)]) == 2
    assert "none.yaml: no such study" in capsys.readouterr().err
