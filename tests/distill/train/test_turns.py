"""Trainings that take turns on a device: compiling before, validation after, the same result."""

import contextlib
import json

import pytest
import tiny_recipes
import torch

from rcm_distill import checkpoint
from rcm_distill.train import train
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


def test_a_turn_that_comes_too_late_leaves_nothing_behind(tmp_path):
    def turn():
        raise TimeoutError("too late")

    with pytest.raises(TimeoutError, match="too late"):
        train(tiny_recipes.recipe(), tmp_path, device="cpu", turn=turn)
    assert not (tmp_path / "state.safetensors").exists()
    assert not (tmp_path / "tiny.safetensors").exists()
