import json

import pytest
import torch

from rcm_distill import checkpoint
from rcm_distill.train import Recipe, train
from rcm_distill.train.recipe import Data, Optimizer

NETWORK = {"width": 32, "depth": 1, "num_heads": 2, "text_depth": 1, "mlp_ratio": 1}


def recipe(**changes) -> Recipe:
    base = {
        "recipe": "tiny",
        "about": "a test",
        "method": "flow_matching",
        "network": NETWORK,
        "data": Data(num_images=16),
        "student": Optimizer(lr=1e-3),
        "critic": Optimizer(lr=1e-3),
        "steps": 6,
        "batch_size": 4,
        "precision": "float32",
    }
    return Recipe(**{**base, **changes})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher")
    return train(recipe(steps=2), out, device="cpu").weights


def test_the_loss_falls_and_the_weights_load(tmp_path):
    report = train(recipe(steps=200, batch_size=8), tmp_path, device="cpu")
    rows = [json.loads(line) for line in report.log.read_text().splitlines()]
    assert report.finished
    assert report.step == 200
    first, last = (next(v for k, v in row.items() if k.startswith("student.")) for row in rows)
    assert last < 0.9 * first
    loaded = checkpoint.load(report.weights)
    assert loaded.card["student_updates"] == 200


class Clock:
    """Advances by a second whenever it is read, so that a time limit is a number of steps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


@pytest.mark.parametrize("method", ["flow_matching", "scm", "rcm", "dmd2", "meanflow", "dcm"])
def test_an_interrupted_training_ends_where_a_whole_one_does(
    tmp_path, method, teacher, monkeypatch
):
    """Weights, averages, moments, random numbers and phases all resume."""
    changes = {} if method == "flow_matching" else {"method": method, "teacher": "t"}
    source = None if method == "flow_matching" else teacher
    whole = train(recipe(**changes), tmp_path / "whole", device="cpu", teacher=source)
    monkeypatch.setattr("rcm_distill.train.trainer.time", Clock())
    cut = train(recipe(**changes), tmp_path / "cut", device="cpu", teacher=source, max_seconds=3.5)
    assert (cut.step, cut.finished) == (3, False)
    monkeypatch.undo()
    rest = train(recipe(**changes), tmp_path / "cut", device="cpu", teacher=source)
    assert (rest.step, rest.finished) == (6, True)
    one, two = (checkpoint.load(r.weights).net.state_dict() for r in (whole, rest))
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_a_student_needs_its_teacher(tmp_path):
    with pytest.raises(ValueError, match="needs the weights of 't'"):
        train(recipe(method="scm", teacher="t"), tmp_path, device="cpu")


def test_a_state_of_another_recipe_is_refused(tmp_path):
    train(recipe(), tmp_path, device="cpu")
    with pytest.raises(ValueError, match="a state of recipe 'tiny', not 'other'"):
        train(recipe(recipe="other"), tmp_path, device="cpu")


def test_non_finite_samples_stop_the_training(tmp_path, teacher):
    """They are counted and raised on, never zeroed in silence."""
    with pytest.raises(FloatingPointError, match="were not finite"):
        train(
            recipe(student=Optimizer(lr=float("inf"), warmup=1), method="scm", teacher="t"),
            tmp_path,
            device="cpu",
            teacher=teacher,
        )


def test_validation_figures_go_into_the_card(tmp_path):
    report = train(
        recipe(), tmp_path, device="cpu", validate=lambda denoiser, step: {"score": step}
    )
    assert checkpoint.read_card(report.weights)["scores"] == {"score": 6}
