"""Networks with a discriminator or a learned weight, alone and in the trainer."""

import pytest
import torch
from tiny_recipes import NETWORK, recipe

from rcm_distill import checkpoint
from rcm_distill.lab.grammar import MAX_WORDS, VOCAB_SIZE
from rcm_distill.nets import DiT, DiTConfig, with_parts
from rcm_distill.train import train
from rcm_distill.train.networks import training_denoiser
from rcm_distill.train.state import load_state


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher")
    return train(recipe(steps=2), out, device="cpu").weights


def inputs(n=3):
    generator = torch.Generator().manual_seed(torch.initial_seed() % 2**31)
    x = torch.randn(n, 3, 40, 40, generator=generator)
    return x, torch.rand(n, generator=generator), torch.ones(n, MAX_WORDS, dtype=torch.int64)


def test_further_parts_change_no_prediction_and_start_at_zero():
    net = DiT(DiTConfig(vocab_size=VOCAB_SIZE, **NETWORK))
    torch.nn.init.normal_(net.patch_out.weight)
    wider = with_parts(net, "discriminator", "log_weight")
    x, t, tokens = inputs()
    assert torch.equal(net(x, t, tokens), wider(x, t, tokens))
    assert wider.logits(x, t, tokens).tolist() == [0.0] * 3
    assert wider.log_weight(t).tolist() == [0.0] * 3
    assert with_parts(net) is net
    with pytest.raises(ValueError, match="discriminator=False has no logits"):
        net.logits(x, t, tokens)
    with pytest.raises(ValueError, match="log_weight=False has no weight"):
        net.log_weight(t)


def test_logits_see_image_time_and_words():
    net = DiT(DiTConfig(vocab_size=VOCAB_SIZE, **NETWORK, discriminator=True))
    for part in (net.discriminator.logit, net.modulation):
        torch.nn.init.normal_(part.weight)
    x, t, tokens = inputs()
    base = net.logits(x, t, tokens)
    assert base.shape == (3,)
    for changed in ((x.flip(0), t, tokens), (x, t.flip(0), tokens), (x, t, tokens + 1)):
        assert not torch.allclose(base, net.logits(*changed))
    denoiser = training_denoiser(net, "float32", compiled=False)
    t_B = torch.atan2(t, 1 - t)
    scale = (t_B.cos() + t_B.sin()).view(-1, 1, 1, 1)
    torch.testing.assert_close(denoiser.logits(x * scale, t_B, tokens), base, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "objective", "learner", "head"),
    [
        ("dmd2", {"gan_weight": 0.1, "gan_critic_weight": 0.1}, "critic", "discriminator.logit"),
        ("scm", {"learned_weight": True}, "student", "weight_head.linear"),
    ],
)
def test_the_trainer_trains_the_heads(tmp_path, teacher, method, objective, learner, head):
    """And a student with a weight is read back; what it carries does not disturb sampling."""
    changes = {"method": method, "teacher": "t", "objective": objective, "precision": "bf16"}
    report = train(recipe(**changes), tmp_path, device="cpu", teacher=teacher)
    tensors, _ = load_state(tmp_path / "state.safetensors")
    assert tensors[f"{learner}.net.{head}.weight"].abs().max() > 0
    loaded = checkpoint.load(report.weights)
    assert loaded.config.log_weight == (method == "scm")
    assert torch.isfinite(loaded.net(*inputs())).all()
    whole = tensors[f"{learner}.net.position"]
    train(recipe(**changes), tmp_path, device="cpu", teacher=teacher)
    assert torch.equal(
        load_state(tmp_path / "state.safetensors")[0][f"{learner}.net.position"], whole
    )
