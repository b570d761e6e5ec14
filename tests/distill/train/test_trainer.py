import csv
import json
from pathlib import Path

import pytest
import torch
from tiny_recipes import recipe

from rcm_distill import checkpoint
from rcm_distill.ema import Constant
from rcm_distill.train import train, trainer
from rcm_distill.train.balance import gradient_balance
from rcm_distill.train.optimize import Optimized
from rcm_distill.train.recipe import Optimizer, methods
from rcm_distill.train.state import load_state


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
    changes["ema"] = (0.05, Constant(decay=0.9, start=2))
    source = None if method == "flow_matching" else teacher
    whole = train(recipe(**changes), tmp_path / "whole", device="cpu", teacher=source)
    monkeypatch.setattr("rcm_distill.train.trainer.time", Clock())
    cut = train(recipe(**changes), tmp_path / "cut", device="cpu", teacher=source, max_seconds=2.5)
    assert (cut.step, cut.finished) == (3, False)
    monkeypatch.undo()
    rest = train(recipe(**changes), tmp_path / "cut", device="cpu", teacher=source)
    assert (rest.step, rest.finished) == (6, True)
    one, two = (checkpoint.load(r.weights).net.state_dict() for r in (whole, rest))
    for name in one:
        assert torch.equal(one[name], two[name]), name
    (one, facts), (two, others) = (
        load_state(tmp_path / folder / "state.safetensors") for folder in ("whole", "cut")
    )
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].numpy().tobytes() == two[name].numpy().tobytes(), name
    assert facts | {"seconds": 0} == others | {"seconds": 0}


def test_the_trainer_knows_no_method_by_name():
    """Nothing in the folder of the trainer branches on the name of a method."""
    folder = Path(trainer.__file__).parent
    for path in folder.glob("*.py"):
        for name in methods():
            assert f'"{name}"' not in path.read_text(), f"{path.name} knows {name}"
    lines = [len((folder / f"{n}.py").read_text().splitlines()) for n in ("trainer", "iteration")]
    assert sum(lines) < 300


def test_accumulated_batches_are_one_step_on_their_mean_loss(tmp_path, monkeypatch):
    """Two batches of four, against the mean of their gradients taken apart."""
    gradients = []
    plain = Optimized.descend

    def noted(self):
        gradients.append([p.grad.clone() for p in self.net.parameters() if p.grad is not None])
        plain(self)

    monkeypatch.setattr(Optimized, "descend", noted)
    still = {"student": Optimizer(lr=0.0), "objective": {"label_dropout": 0.0}}
    whole = train(recipe(accumulate=2, steps=1, **still), tmp_path / "whole", device="cpu")
    train(recipe(steps=2, **still), tmp_path / "apart", device="cpu")
    both, first, second = gradients
    for mean, one, two in zip(both, first, second, strict=True):
        torch.testing.assert_close(mean, (one + two) / 2, rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(one, two) for one, two in zip(first, second, strict=True))
    assert checkpoint.read_card(whole.weights)["student_updates"] == 1


@pytest.mark.parametrize("method", ["meanflow", "dcm"])
def test_the_new_methods_learn_from_a_teacher(tmp_path, method, teacher, monkeypatch):
    """The loss on fresh draws falls to a share of what it was; the weights load and sample."""
    changes = {
        "meanflow": {"norm_power": 0.0, "reduction": "mean", "equal_share": 0.5},
        "dcm": {"start": "grid", "num_steps": 8, "weight": 1.0, "reduction": "mean"},
    }[method]
    monkeypatch.setattr("rcm_distill.train.trainer.LOG_EVERY", 10)
    report = train(
        recipe(
            method=method,
            teacher="t",
            objective=changes,
            steps=40,
            batch_size=8,
            student=Optimizer(lr=4e-3, warmup=1),
        ),
        tmp_path,
        device="cpu",
        teacher=teacher,
    )
    rows = [json.loads(line) for line in report.log.read_text().splitlines()]
    first, *_, last = (row[f"student.{method}"] for row in rows)
    assert last < 0.8 * first, (first, last)
    net = checkpoint.load(report.weights).net
    assert net.config.end_time == (method == "meanflow")
    with report.log.with_suffix(".csv").open(newline="") as file:
        table = [float(row[f"student.{method}"]) for row in csv.DictReader(file)]
    assert table == [row[f"student.{method}"] for row in rows]


def test_the_balance_of_gradients_is_logged_and_changes_nothing(tmp_path, teacher, monkeypatch):
    monkeypatch.setattr("rcm_distill.train.trainer.LOG_EVERY", 1)
    changes = {"method": "rcm", "teacher": "t", "objective": {"student_update_freq": 2}}
    states, rows = [], []
    for every in (0, 2):
        out = tmp_path / str(every)
        done = train(recipe(**changes, balance_every=every), out, device="cpu", teacher=teacher)
        states.append(load_state(out / "state.safetensors")[0])
        rows.append([json.loads(line) for line in done.log.read_text().splitlines()])
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name
    measured = [row["step"] for row in rows[1] if "student.balance.cos.scm.dmd" in row]
    # The student learns in steps 1, 3, 5; its first and third update are measured.
    assert measured == [1, 5]
    assert all(abs(rows[1][i - 1]["student.balance.cos.scm.dmd"]) <= 1.0001 for i in measured)
    assert not any("balance" in key for row in rows[0] for key in row)


def test_gradient_balance_is_norms_and_cosine():
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    parts = {"one": 3 * weight[0], "two": 2 * (weight[0] + weight[1])}
    found = gradient_balance(parts, [weight, torch.zeros(2, requires_grad=True)])
    assert found["balance.norm.one"].item() == 3
    assert found["balance.norm.two"].item() == pytest.approx(8**0.5)
    assert found["balance.cos.one.two"].item() == pytest.approx(0.5**0.5)


def test_a_student_needs_its_teacher(tmp_path):
    with pytest.raises(ValueError, match="needs the weights of 't'"):
        train(recipe(method="scm", teacher="t"), tmp_path, device="cpu")


def test_a_state_of_another_recipe_is_refused(tmp_path):
    train(recipe(), tmp_path, device="cpu")
    with pytest.raises(ValueError, match="a state of recipe 'tiny', not 'other'"):
        train(recipe(recipe="other"), tmp_path, device="cpu")
    with pytest.raises(ValueError, match="a state of this recipe with batch_size: 4, not 5"):
        train(recipe(batch_size=5), tmp_path, device="cpu")
    assert train(recipe(about="the same", max_growth=10.0), tmp_path, device="cpu").finished


def test_a_teacher_that_does_not_fit_is_refused(tmp_path, teacher):
    changes = {"method": "dcm", "teacher": "t"}
    wide = recipe(**changes, network={"width": 64})
    with pytest.raises(ValueError, match="expects a teacher with network.width: 64, got 32"):
        train(wide, tmp_path / "wide", device="cpu", teacher=teacher)
    jumping = train(
        recipe(method="meanflow", teacher="t", steps=1), tmp_path, device="cpu", teacher=teacher
    )
    with pytest.raises(ValueError, match="a teacher gives velocities"):
        train(recipe(**changes), tmp_path / "other", device="cpu", teacher=jumping.weights)


def test_divergence_stops_the_training_and_its_state_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("rcm_distill.train.trainer.LOG_EVERY", 4)
    with pytest.raises(FloatingPointError, match="max_growth.*State: .*stopped.safetensors"):
        train(
            recipe(student=Optimizer(lr=0.3, warmup=40), steps=60, max_growth=2.0),
            tmp_path,
            device="cpu",
        )
    _, facts = load_state(tmp_path / "stopped.safetensors")
    assert 4 < facts["step"] <= 60
    assert not (tmp_path / "state.safetensors").exists()


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
