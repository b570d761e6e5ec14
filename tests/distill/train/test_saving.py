"""A training that is killed, interrupted or breaks goes on where its last state was saved."""

import builtins
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from tiny_recipes import recipe

from rcm_distill import checkpoint
from rcm_distill.train import train
from rcm_distill.train.interrupts import Interrupts
from rcm_distill.train.optimize import Optimized
from rcm_distill.train.state import load_state

RCM = {"method": "rcm", "teacher": "t", "steps": 9, "save_every": 4, "save_seconds": 0.0}
KILLED = """
import os, signal, sys
from pathlib import Path
from tiny_recipes import recipe
from rcm_distill.train import train, trainer
from rcm_distill.train.optimize import Optimized
trainer.LOG_EVERY = 1
count = Optimized.count
def dying(self):
    count(self)
    dying.calls += 1
    if dying.calls == 7:
        os.kill(os.getpid(), signal.SIGKILL)
dying.calls = 0
Optimized.count = dying
torch = sys.modules["torch"]
torch.set_num_threads(1)
train(recipe(**RCM), Path(sys.argv[1]), device="cpu", teacher=Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher")
    return train(recipe(steps=2), out, device="cpu").weights


def assert_same_bytes(whole, other):
    """Weights, averages, moments, random numbers and phases of two states."""
    (one, facts), (two, others) = (
        load_state(folder / "state.safetensors") for folder in (whole, other)
    )
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].numpy().tobytes() == two[name].numpy().tobytes(), name
    assert facts | {"seconds": 0} == others | {"seconds": 0}


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_killed_training_ends_where_a_whole_one_does(tmp_path, teacher, monkeypatch):
    """Killed in its seventh iteration, it has a state of the fourth and goes on from there."""
    monkeypatch.setattr("rcm_distill.train.trainer.LOG_EVERY", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = train(recipe(**RCM), tmp_path / "whole", device="cpu", teacher=teacher)
        script = f"RCM = {RCM!r}\n{KILLED}"
        folder = os.path.dirname(__file__)
        ended = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "killed"), str(teacher)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([folder, *sys.path])},
            check=False,
        )
        assert ended.returncode == -signal.SIGKILL
        _, facts = load_state(tmp_path / "killed" / "state.safetensors")
        assert facts["step"] == 4
        assert [row["step"] for row in rows(tmp_path / "killed" / "log.jsonl")] == [
            1,
            2,
            3,
            4,
            5,
            6,
        ]
        rest = train(recipe(**RCM), tmp_path / "killed", device="cpu", teacher=teacher)
    finally:
        torch.set_num_threads(before)
    assert rest.finished
    assert_same_bytes(tmp_path / "whole", tmp_path / "killed")
    one, two = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in rows(report.log)]
        for report in (whole, rest)
    )
    assert one == two, "lines after the state that was resumed are written once"


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_iteration_end_and_saves(tmp_path, teacher, monkeypatch, number):
    """The signal acts as before the training once the state is saved."""

    def handler(*_):
        raise StoppedError

    once = signal.signal(number, handler)
    changes = {**RCM, "save_every": 0}
    count = Optimized.count
    done = []

    def signalled(self):
        count(self)
        done.append(1)
        if len(done) == 3:
            signal.raise_signal(number)

    try:
        train(recipe(**changes), tmp_path / "whole", device="cpu", teacher=teacher)
        monkeypatch.setattr(Optimized, "count", signalled)
        with pytest.raises(StoppedError):
            train(recipe(**changes), tmp_path / "cut", device="cpu", teacher=teacher)
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, once)
    monkeypatch.undo()
    assert load_state(tmp_path / "cut" / "state.safetensors")[1]["step"] == 3
    assert (tmp_path / "cut" / "log.csv").exists()
    train(recipe(**changes), tmp_path / "cut", device="cpu", teacher=teacher)
    assert_same_bytes(tmp_path / "whole", tmp_path / "cut")


@pytest.fixture
def hears_sigint():
    """What runs in the background is started deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_sigint")
def test_a_second_signal_acts_at_once():
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.caught is signal.SIGINT
        signal.raise_signal(signal.SIGINT)


def test_the_state_is_saved_every_so_many_seconds(tmp_path, monkeypatch):
    """On a clock that goes a second an iteration, and again at the end."""
    now = iter(range(100))
    clock = SimpleNamespace(monotonic=lambda: float(next(now)))
    monkeypatch.setattr("rcm_distill.train.trainer.time", clock)
    saved = []
    monkeypatch.setattr(
        "rcm_distill.train.trainer.save", lambda training, *_: saved.append(training.step)
    )
    train(recipe(save_seconds=2.0, steps=7), tmp_path, device="cpu")
    assert saved == [2, 4, 6, 7]


def test_a_spoiled_state_does_not_replace_a_good_one(tmp_path, monkeypatch):
    """A weight turns into NaN after the last loss was taken."""
    count = Optimized.count

    def spoiling(self):
        count(self)
        if self.updates == 4:
            with torch.no_grad():
                next(self.net.parameters()).view(-1)[0] = float("nan")

    monkeypatch.setattr(Optimized, "count", spoiling)
    with pytest.raises(
        FloatingPointError, match=r"step 4: student: .* not finite. State: .*stopped"
    ):
        train(recipe(save_every=2), tmp_path, device="cpu")
    assert load_state(tmp_path / "state.safetensors")[1]["step"] == 2
    assert load_state(tmp_path / "stopped.safetensors")[1]["step"] == 4
    monkeypatch.undo()
    assert train(recipe(save_every=2), tmp_path, device="cpu").finished


def test_scores_and_snapshots_while_training(tmp_path):
    """Validated every two iterations; the average after three updates is written."""
    seen = []

    def validate(denoiser, step):
        seen.append(step)
        return {"score": step / 10}

    changes = {"validate_every": 2, "snapshots": (3,)}
    report = train(recipe(**changes), tmp_path, device="cpu", validate=validate)
    assert seen == [2, 3, 4, 6]
    written = rows(tmp_path / "validation.jsonl")
    assert [(row["step"], row["student_updates"], row["score"]) for row in written] == [
        (step, step, step / 10) for step in seen
    ]
    assert (
        (tmp_path / "validation.csv").read_text().startswith("step,seconds,student_updates,score")
    )
    snapshot = tmp_path / "tiny-3-updates.safetensors"
    assert checkpoint.read_card(snapshot)["steps"] == 3
    short = train(recipe(steps=3), tmp_path / "short", device="cpu").weights
    early, ends = (checkpoint.load(path).net.state_dict() for path in (snapshot, short))
    for name in early:
        assert torch.equal(early[name], ends[name]), name
    assert not torch.equal(early["position"], checkpoint.load(report.weights).net.position)
    train(recipe(), tmp_path / "plain", device="cpu")
    one, two = (
        load_state(folder / "state.safetensors")[0] for folder in (tmp_path, tmp_path / "plain")
    )
    assert all(torch.equal(one[name], two[name]) for name in two), "and training is not disturbed"


def test_tensorboard_shows_what_the_log_says(tmp_path, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setattr("rcm_distill.train.trainer.LOG_EVERY", 2)
    report = train(recipe(tensorboard=True), tmp_path, device="cpu", validate=lambda *_: {"x": 0.5})
    board = events.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    shown = [(e.step, e.value) for e in board.Scalars("student/flow_matching")]
    logged = [(row["step"], row["student.flow_matching"]) for row in rows(report.log)]
    assert [step for step, _ in shown] == [2, 4, 6]
    assert shown == [(step, pytest.approx(value, rel=1e-6)) for step, value in logged]
    assert [(e.step, e.value) for e in board.Scalars("validation/x")] == [(6, 0.5)]


def test_a_missing_tensorboard_is_said_before_the_first_step(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **named):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        ValueError, match=r"needs the package tensorboard.*rcm-bench\[tensorboard\]"
    ):
        train(recipe(tensorboard=True), tmp_path, device="cpu")
    assert not (tmp_path / "log.jsonl").exists()


def test_a_damaged_log_is_named(tmp_path):
    report = train(recipe(), tmp_path, device="cpu")
    text = report.log.read_text()
    report.log.write_text(text + '{"step": 9, "sec')
    assert train(recipe(), tmp_path, device="cpu").log.read_text() == text
    report.log.write_text("nonsense\n" + text)
    with pytest.raises(ValueError, match=r"log.jsonl: line 1: expected JSON, got 'nonsense'"):
        train(recipe(), tmp_path, device="cpu")
