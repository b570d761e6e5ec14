"""Masks, key lengths, shared heads and their messages: the meaning is PyTorch's own."""

import pytest
import torch
from inputs import draw
from torch.nn import functional

from rcm_kernels import attention, attention_with_tangent


def masks(rng):
    seen = torch.rand(2, 1, 9, 13, generator=rng) < 0.6
    seen[0, 0, 4] = False
    bias = torch.randn(4, 9, 13, generator=rng, dtype=torch.float64)
    walled = bias.masked_fill(torch.rand(4, 9, 13, generator=rng) < 0.3, -torch.inf)
    walled[1, 2] = -torch.inf
    return {"boolean": seen, "additive": bias, "additive with -inf": walled, "keys": seen[:, :, :1]}


@pytest.mark.parametrize("impl", ["auto", "reference"])
@pytest.mark.parametrize("kind", ["boolean", "additive", "additive with -inf", "keys"])
def test_masks_mean_what_they_mean_in_pytorch(rng, impl, kind):
    q, k, v = draw(rng)
    mask = masks(rng)[kind]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert expected.isfinite().all()
    out = attention(q, k, v, attn_mask=mask, impl=impl)
    torch.testing.assert_close(out, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_key_lengths_are_shorter_keys(rng, impl, causal):
    q, k, v = draw(rng)
    k[1, :, 7:], v[1, :, 7:] = 1e30, 1e300  # whatever the padding holds
    out = attention(q, k, v, is_causal=causal, impl=impl, key_lengths=torch.tensor([13, 7]))
    for b, length in ((0, 13), (1, 7)):
        part = slice(b, b + 1)
        expected = attention(
            q[part], k[part, :, :length], v[part, :, :length], is_causal=causal, impl="reference"
        )
        torch.testing.assert_close(out[part], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_shared_heads_are_repeated_heads(rng, impl):
    q, k, v = draw(rng, heads=6, groups=2)
    out = attention(q, k, v, enable_gqa=True, impl=impl)
    wide = [x.repeat_interleave(3, dim=1) for x in (k, v)]
    torch.testing.assert_close(out, attention(q, *wide), rtol=1e-11, atol=1e-12)


def hidden_by(case, rng):
    """Return keyword arguments that hide keys in one of the ways there are."""
    given = masks(rng)
    return {
        "nothing": {},
        "causal": {"is_causal": True},
        "boolean": {"attn_mask": given["boolean"]},
        "additive": {"attn_mask": given["additive with -inf"]},
        "lengths": {"key_lengths": torch.tensor([0, 7])},
        "lengths and causal": {"key_lengths": torch.tensor([3, 13]), "is_causal": True},
        "lengths and mask": {
            "key_lengths": torch.tensor([3, 13]),
            "attn_mask": given["additive with -inf"],
        },
    }[case]


HIDDEN = ("causal", "boolean", "additive", "lengths", "lengths and causal", "lengths and mask")


@pytest.mark.parametrize("case", HIDDEN)
def test_tangents_and_six_gradients_under_masks_are_autograd_s(rng, case):
    """The oracle differentiates PyTorch's own attention twice, in fp64."""
    hidden = hidden_by(case, rng)
    primals, tangents = draw(rng, groups=2, requires_grad=True), draw(rng, groups=2)
    tangents = [x.requires_grad_() for x in tangents]
    seen = torch.ones(2, 4, 9, 13, dtype=torch.bool)
    if hidden.get("is_causal"):
        seen = seen & torch.ones(9, 13, dtype=torch.bool).tril()
    if "key_lengths" in hidden:
        seen = seen & (torch.arange(13) < hidden["key_lengths"][:, None, None, None])
    bias = torch.zeros(2, 4, 9, 13, dtype=torch.float64)
    if (mask := hidden.get("attn_mask")) is not None:
        bias = bias.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else bias + mask
    bias = bias.masked_fill(~seen, -torch.inf)

    def oracle(q, k, v):
        k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
        seen = bias > -torch.inf
        weights = torch.exp(q @ k.mT / 4 + bias.masked_fill(~seen, 0.0)) * seen
        total = weights.sum(-1, keepdim=True)
        return weights @ v / torch.where(total > 0, total, 1.0)

    pulled = [torch.randn(2, 4, 9, 18, generator=rng, dtype=torch.float64) for _ in range(2)]

    def gradients(result):
        assert all(x.isfinite().all() for x in result)
        loss = sum((x * g).sum() for x, g in zip(result, pulled, strict=True))
        return torch.autograd.grad(loss, [*primals, *tangents])

    expected = torch.func.jvp(oracle, tuple(primals), tuple(tangents))
    got = attention_with_tangent(*primals, *tangents, enable_gqa=True, **hidden)
    torch.testing.assert_close(tuple(got), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients(got), gradients(expected), rtol=1e-9, atol=1e-11)


def test_an_additive_mask_has_gradients_and_tangents(rng):
    q, k, v = draw(rng)
    bias = masks(rng)["additive"].requires_grad_()
    inner = lambda b: attention(q, k, v, attn_mask=b, impl="reference")  # noqa: E731
    assert torch.autograd.gradcheck(inner, [bias], check_forward_ad=True)


def test_messages(rng):
    q, k, v = draw(rng, groups=2)
    with pytest.raises(ValueError, match="key must have 4 heads as query has, got 2; enable_gqa"):
        attention(q, k, v)
    with pytest.raises(ValueError, match=r"heads of key \(2\) must divide the heads of query \(3"):
        attention(q[:, :3], k, v, enable_gqa=True)
    q, k, v = draw(rng)
    seen = torch.ones(9, 13, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"attn_mask must broadcast to \(2, 4, 9, 13\), got \(9,"):
        attention(q, k, v, attn_mask=seen[:, :5])
    with pytest.raises(ValueError, match=r"attn_mask must be torch.bool or torch.float64, got"):
        attention(q, k, v, attn_mask=seen.float())
    with pytest.raises(ValueError, match="either attn_mask or is_causal=True, got both"):
        attention(q, k, v, attn_mask=seen, is_causal=True)
    with pytest.raises(
        ValueError, match=r"key_lengths must be int32 or int64 of shape \(2,\), got"
    ):
        attention(q, k, v, key_lengths=torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="key_lengths must be 0 to 13, got 14"):
        attention(q, k, v, key_lengths=torch.tensor([14, 2]))
    with pytest.raises(ValueError, match="must be on one device, got cpu, meta, cpu"):
        attention(q, k.to("meta"), v)
    with pytest.raises(ValueError, match="key_tangent must be on cpu as key is, got meta"):
        attention_with_tangent(q, k, v, q, k.to("meta"), v)
    with pytest.raises(ValueError, match="share one dtype of float16.*got torch.int64, torch.int6"):
        attention(q.long(), k.long(), v.long())
