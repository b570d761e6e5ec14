"""Mixed precision by a copy with bf16 matrices: autocast's numbers, without its casts."""

import secrets

import pytest
import tiny_recipes
import torch

from rcm_distill import checkpoint
from rcm_distill.nets.dit import DiT, DiTConfig
from rcm_distill.train import train
from rcm_distill.train.lowered import Lowered
from rcm_distill.train.networks import training_denoiser
from rcm_distill.train.state import load_state

CONFIG = DiTConfig(vocab_size=20, width=64, depth=2, num_heads=2, text_depth=1, log_weight=True)


@pytest.fixture
def drawn():
    """A network that predicts something, and inputs."""
    rng = torch.Generator().manual_seed(secrets.randbits(40))
    net = DiT(CONFIG)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * 0.1
    x = torch.randn(6, 3, 40, 40, generator=rng)
    t = torch.rand(6, generator=rng) * 1.5
    tokens = torch.randint(0, 20, (6, 12), generator=rng)
    return net, x, t, tokens


def backward(denoiser, x, t, tokens):
    F = denoiser(x, t, tokens).F
    F.square().sum().backward()
    return F.detach()


def test_predictions_and_gradients_are_those_of_autocast(drawn):
    net, x, t, tokens = drawn
    plain = training_denoiser(net, "bf16", compiled=False)
    expected = backward(plain, x, t, tokens)
    gradients = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    lowered = Lowered(net)
    assert len(lowered.pairs) > 2 * len(net.blocks) * 4
    copied = training_denoiser(net, "bf16", compiled=False, lowered=lowered.net)
    assert torch.equal(backward(copied, x, t, tokens), expected)
    lowered.collect()
    found = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    assert found.keys() == gradients.keys()
    for name in found:
        assert torch.equal(found[name], gradients[name]), name
        assert found[name].dtype == torch.float32
    # A second batch is added in float32.
    backward(copied, x, t, tokens)
    lowered.collect()
    for name, gradient in gradients.items():
        torch.testing.assert_close(net.get_parameter(name).grad, 2 * gradient, msg=name)


def test_the_copy_follows_a_step(drawn):
    net, x, t, tokens = drawn
    lowered = Lowered(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.5)
    stale = training_denoiser(net, "bf16", compiled=False, lowered=lowered.net)(x, t, tokens).F
    lowered.refresh()
    fresh = training_denoiser(net, "bf16", compiled=False, lowered=lowered.net)(x, t, tokens).F
    expected = training_denoiser(net, "bf16", compiled=False)(x, t, tokens).F
    assert torch.equal(fresh, expected)
    assert not torch.equal(stale, expected)


def test_tangents_of_mixed_precision_are_nearer_than_those_of_bf16(drawn):
    net, x, t, tokens = drawn
    dx, dt = torch.randn_like(x), torch.ones_like(t)

    def of(precision, dtype=torch.float32):
        copy = DiT(CONFIG).to(dtype)
        copy.load_state_dict(net.state_dict())
        denoiser = training_denoiser(copy, precision, compiled=False)
        return denoiser.tangent(x.to(dtype), t.to(dtype), dx.to(dtype), dt.to(dtype), tokens).dF

    exact = of("float32", torch.float64)
    assert exact.dtype == torch.float64
    error = {
        name: ((found.double() - exact).norm() / exact.norm()).item()
        for name, found in (("float32", of("float32")), ("mixed", of("bf16")))
    }
    assert error["float32"] < 1e-4 < error["mixed"] < 0.03, error


def test_a_mixed_training_resumes_exactly_and_learns_as_autocast_does(tmp_path, monkeypatch):
    """The state holds float32 weights only; the copy is made again from them."""
    changes = {"precision": "bf16", "steps": 6, "accumulate": 2}
    whole = train(tiny_recipes.recipe(**changes), tmp_path / "whole", device="cpu")
    folder = tmp_path / "cut"
    cut = train(tiny_recipes.recipe(**changes), folder, device="cpu", max_seconds=1e-9)
    assert cut.step == 1
    train(tiny_recipes.recipe(**changes), folder, device="cpu")
    one, two = (load_state(tmp_path / f / "state.safetensors")[0] for f in ("whole", "cut"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert {t.dtype for n, t in one.items() if ".net." in n} == {torch.float32}
    monkeypatch.setattr(Lowered, "where_it_pays", lambda *_: None)
    plain = train(tiny_recipes.recipe(**changes), tmp_path / "plain", device="cpu")
    nets = [checkpoint.load(r.weights).net.state_dict() for r in (whole, plain)]
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])
