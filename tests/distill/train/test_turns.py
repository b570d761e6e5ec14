"""Trainings that take turns on a device: compiling before, validation after, the same result."""

import contextlib
import json
import shutil
import signal

import pytest
import tiny_recipes
import torch

from rcm_distill import checkpoint
from rcm_distill.train import train
from rcm_distill.train.optimize import Optimized
from rcm_distill.train.state import load_state


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher")
    return train(tiny_recipes.recipe(steps=2), out, device="cpu").weights


@pytest.mark.parametrize("method", ["scm", "rcm", "dmd2"])
def test_a_training_with_a_turn_is_the_same_training(tmp_path, teacher, method):
    changes = {"scm": {"tangent_warmup": 3}, "rcm": {"student_update_freq": 2}}.get(method, {})
    recipe = tiny_recipes.recipe(
        method=method, teacher="t", objective=changes, validate_every=2, snapshots=(1,)
    )
    events = []

    @contextlib.contextmanager
    def turn():
        events.append("turn")
        yield
        events.append("over")

    def validate(denoiser, step):
        events.append(step)
        return {"size": float(denoiser.net.patch_out.weight.detach().square().sum())}

    plain = train(recipe, tmp_path / "plain", device="cpu", teacher=teacher, validate=validate)
    before, events[:] = list(events), []
    turned = train(
        recipe, tmp_path / "turn", device="cpu", teacher=teacher, validate=validate, turn=turn
    )
    assert events == ["turn", "over", *before]
    states = [load_state(r.weights.parent / "state.safetensors")[0] for r in (plain, turned)]
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name
    for name in ("tiny", "tiny-1-updates"):
        one, two = (
            checkpoint.load(r.weights.with_name(f"{name}.safetensors")) for r in (plain, turned)
        )
        assert one.card | {"seconds": 0} == two.card | {"seconds": 0}
        for key, value in one.net.state_dict().items():
            assert torch.equal(value, two.net.state_dict()[key]), key
    scores = [
        [json.loads(line) | {"seconds": 0} for line in path.read_text().splitlines()]
        for path in (r.weights.with_name("validation.jsonl") for r in (plain, turned))
    ]
    assert scores[0] == scores[1]
    assert len(scores[0]) >= 3


class KilledError(Exception):
    """Stands for a SIGKILL: nothing after it runs."""


@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_what_waits_for_validation_survives_a_stop(tmp_path, teacher, last):
    """Killed in any validation, a finished training goes on with the rest and takes no turn."""
    recipe = tiny_recipes.recipe(
        method="scm", teacher="t", steps=6, validate_every=2, snapshots=(3,), balance_every=0
    )

    def size(denoiser, step):
        return {"size": float(denoiser.net.patch_out.weight.detach().square().sum())}

    seen = []

    def killed(denoiser, step):
        seen.append(step)
        if len(seen) == last + 1:
            raise KilledError
        return size(denoiser, step)

    turns = []

    @contextlib.contextmanager
    def turn():
        turns.append(1)
        yield

    plain = train(recipe, tmp_path / "plain", device="cpu", teacher=teacher, validate=size)
    with pytest.raises(KilledError):
        train(recipe, tmp_path / "cut", device="cpu", teacher=teacher, validate=killed, turn=turn)
    rest = train(recipe, tmp_path / "cut", device="cpu", teacher=teacher, validate=size, turn=turn)
    assert turns == [1], "trained once"
    assert not list((tmp_path / "cut" / "waiting").iterdir())
    scores = [
        [json.loads(line) | {"seconds": 0} for line in path.read_text().splitlines()]
        for path in (r.weights.with_name("validation.jsonl") for r in (plain, rest))
    ]
    assert [row["step"] for row in scores[0]] == [2, 3, 4, 6]
    assert scores[0] == scores[1]
    for name in ("tiny", "tiny-3-updates"):
        one, two = (
            checkpoint.load(r.weights.with_name(f"{name}.safetensors")) for r in (plain, rest)
        )
        assert one.card | {"seconds": 0} == two.card | {"seconds": 0}
        for key, value in one.net.state_dict().items():
            assert torch.equal(value, two.net.state_dict()[key]), key


def test_a_stop_while_training_leaves_validation_to_the_next_session(tmp_path, monkeypatch):
    """SIGTERM saves and ends; what waits of steps after an older state is made again."""
    recipe = tiny_recipes.recipe(steps=6, validate_every=2, save_every=3, save_seconds=0.0)
    counted, validated = [], []

    def validate(denoiser, step):
        validated.append(step)
        return {"size": float(denoiser.net.patch_out.weight.detach().square().sum())}

    def dying(self):
        count(self)
        counted.append(1)
        if len(counted) == 5:
            raise KilledError

    count = Optimized.count
    monkeypatch.setattr(Optimized, "count", dying)
    with pytest.raises(KilledError):
        train(recipe, tmp_path, device="cpu", validate=validate, turn=contextlib.nullcontext)
    waiting = tmp_path / "waiting"
    assert {path.name for path in waiting.iterdir()} == {
        *("000000002-scores.safetensors", "000000004-scores.safetensors")
    }
    assert load_state(tmp_path / "state.safetensors")[1]["step"] == 3
    monkeypatch.setattr(Optimized, "count", count)
    shutil.copytree(tmp_path, tmp_path / "at-once")
    train(recipe, tmp_path / "at-once", device="cpu", validate=validate, max_seconds=0.0)
    assert validated == [2, 3], "what waits of a step after the state is not of this training"
    validated.clear()
    once = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Optimized, "count", lambda self: signal.raise_signal(signal.SIGTERM))
            train(recipe, tmp_path, device="cpu", validate=validate, turn=contextlib.nullcontext)
    finally:
        signal.signal(signal.SIGTERM, once)
    assert validated == [], "a stop does not wait for validation"
    train(recipe, tmp_path, device="cpu", validate=validate)
    assert validated == [2, 4, 6]
    rows = (tmp_path / "validation.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [2, 4, 6]


def test_a_turn_that_comes_too_late_leaves_nothing_behind(tmp_path):
    def turn():
        raise TimeoutError("too late")

    with pytest.raises(TimeoutError, match="too late"):
        train(tiny_recipes.recipe(), tmp_path, device="cpu", turn=turn)
    assert not (tmp_path / "state.safetensors").exists()
    assert not (tmp_path / "tiny.safetensors").exists()
