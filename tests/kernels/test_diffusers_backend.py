"""Unmodified transformers of diffusers, tiny and random, with tangents through this attention."""

import secrets

import pytest
import torch
from torch.autograd import forward_ad

from rcm_kernels import diffusers_backend
from rcm_kernels.checkpoint import checkpoint

pytest.importorskip("diffusers", reason="diffusers is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
WAN = {
    "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 16,
    "in_channels": 4, "out_channels": 4, "text_dim": 32, "freq_dim": 32, "ffn_dim": 32,
    "num_layers": 2, "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 32,
}  # fmt: skip
COSMOS = {
    "in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 16,
    "num_layers": 2, "mlp_ratio": 2, "text_embed_dim": 32, "adaln_lora_dim": 4,
    "max_size": (4, 32, 32), "patch_size": (1, 2, 2), "rope_scale": (1.0, 4.0, 4.0),
    "concat_padding_mask": False, "extra_pos_embed_type": None,
}  # fmt: skip


@pytest.fixture
def seed():
    seed = secrets.randbits(31)
    print(f"seed {seed}")
    torch.manual_seed(seed)
    return seed


def build(name):
    """Return a model, and a function of sample and time alone."""
    import diffusers

    if name == "wan":
        model = diffusers.WanTransformer3DModel(**WAN)
    else:  # its padding mask would need torchvision, and has no part in attention
        model = diffusers.CosmosTransformer3DModel(**COSMOS)
    text = torch.randn(1, 8, 32)

    def call(x, t):
        inputs = {"hidden_states": x, "timestep": t, "encoder_hidden_states": text}
        return model(**inputs, return_dict=False)[0]

    x, dx = torch.randn(1, 4, 2, 4, 4), torch.randn(1, 4, 2, 4, 4)
    t = torch.tensor([500.0 if name == "wan" else 0.4])
    return model.eval(), call, (x, t), (dx, torch.ones(1))


def by_level(call, primals, tangents):
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(*pair) for pair in zip(primals, tangents, strict=True)]
        out, tangent = forward_ad.unpack_dual(call(*duals))
    return out, tangent


def through_math(call, primals, tangents):
    """The same tangent from PyTorch's own operations: diffusers' backend without fused kernels."""
    from diffusers.models.attention_dispatch import attention_backend

    with attention_backend("_native_math"):
        return torch.func.jvp(call, primals, tangents)


def relative(got, expected):
    return float((got - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", ["wan", "cosmos"])
@pytest.mark.parametrize("ask", [torch.func.jvp, by_level])
def test_tangents_through_unmodified_transformers(seed, monkeypatch, name, ask):
    model, call, primals, tangents = build(name)
    model.requires_grad_(False)
    expected = through_math(call, primals, tangents)
    calls, real = [], diffusers_backend.attention
    monkeypatch.setattr(
        diffusers_backend, "attention", lambda *a, **k: (calls.append(a[0].shape), real(*a, **k))[1]
    )
    model.set_attention_backend(diffusers_backend.register("reference"))
    out, tangent = ask(call, primals, tangents)
    assert calls == [(1, 2, 8, 16)] * 4  # self- and cross-attention of two blocks, (B, H, S, D)
    assert relative(out, expected[0]) < 1e-5 and relative(tangent, expected[1]) < 1e-5


@pytest.mark.parametrize("name", ["wan", "cosmos"])
def test_tangents_are_central_differences(seed, name):
    """Of the sample; models compute parts in float32, which bounds how small a step can be."""
    model, call, (x, t), (dx, _) = build(name)
    model.requires_grad_(False)
    model.set_attention_backend(diffusers_backend.register("reference"))
    tangent = torch.func.jvp(lambda y: call(y, t), (x,), (dx,))[1]
    h = 2e-3
    difference = (call(x + h * dx, t) - call(x - h * dx, t)) / (2 * h)
    assert relative(difference, tangent) < 5e-3


@pytest.mark.parametrize("name", ["wan", "cosmos"])
def test_gradients_through_the_tangent_with_and_without_checkpoints(seed, name):
    model, call, primals, tangents = build(name)

    def gradients(ask):
        model.zero_grad()
        out, tangent = ask(call, primals, tangents)
        (out.square().sum() + tangent.square().sum()).backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    expected = gradients(through_math)
    model.set_attention_backend(diffusers_backend.register("reference"))
    found = [gradients(torch.func.jvp), gradients(by_level)]
    model.train()
    model.enable_gradient_checkpointing(checkpoint)
    found.append(gradients(by_level))
    largest = max(float(g.norm()) for g in expected.values())
    for got in found:
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            error = float((got[key] - value).norm())
            assert error < 1e-4 * float(value.norm()) + 1e-6 * largest, key


def test_names_and_messages(seed):
    assert diffusers_backend.register() == "rcm_kernels"
    assert diffusers_backend.register("reference") == "rcm_kernels_reference"
    from diffusers.models.attention_dispatch import attention_backend, dispatch_attention_fn

    q = torch.randn(1, 5, 2, 16)
    with attention_backend("rcm_kernels"):
        with pytest.raises(ValueError, match=r"^dropout_p must be 0 in this backend, got 0\.1$"):
            dispatch_attention_fn(q, q, q, dropout_p=0.1)
        mask = torch.zeros(5, 5).masked_fill(torch.ones(5, 5).triu(1) > 0, -torch.inf)
        got = dispatch_attention_fn(q, q, q, attn_mask=mask)
    expected = torch.nn.functional.scaled_dot_product_attention(
        *[q.transpose(1, 2)] * 3, is_causal=True
    )
    torch.testing.assert_close(got, expected.transpose(1, 2))


def test_context_parallelism_refuses_what_carries_no_tangents():
    from types import SimpleNamespace

    config = SimpleNamespace(context_parallel_config=SimpleNamespace(ring_degree=2))
    q = torch.randn(1, 5, 2, 16)
    attend = diffusers_backend._backend("auto")
    with pytest.raises(ValueError) as refused:
        attend(q, q, q, _parallel_config=config)
    assert str(refused.value) == (
        "ring_degree must be 1 (Ulysses carries tangents, a ring does not), got 2"
    )
    with pytest.raises(ValueError, match="^attn_mask must be None under context parallelism"):
        attend(q, q, q, attn_mask=torch.zeros(5, 5), _parallel_config=config)
