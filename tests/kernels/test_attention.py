"""Attention, its tangent and gradients against fp64, in every way that they can be asked for."""

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from rcm_kernels import attention, attention_with_tangent

SHAPES = [(1, 1, 8), (17, 64, 32), (65, 63, 64), (64, 130, 96), (130, 130, 128)]


def draw(rng, s, t, d, *, dtype=torch.float64, batch=2, heads=3):
    """Return (q, k, v) with another value size and strides that are not contiguous."""
    sizes = ((s, d), (t, d), (t, d + 4))
    drawn = [
        torch.randn(batch, n, heads, e, generator=rng, dtype=torch.float64).to(dtype)
        for n, e in sizes
    ]
    return tuple(x.transpose(1, 2) for x in drawn)


def golden(q, k, v, scale, *, causal=False):
    """Attention row by row in numpy, fp64: nothing shared with the code under test."""
    q, k, v = (x.double().numpy() for x in (q, k, v))
    out = np.empty((*q.shape[:3], v.shape[-1]))
    for index in np.ndindex(*q.shape[:3]):
        b, h, i = index
        last = i + 1 if causal else k.shape[2]
        scores = scale * k[b, h, :last] @ q[index]
        weights = np.exp(scores - scores.max())
        out[index] = weights @ v[b, h, :last] / weights.sum()
    return torch.from_numpy(out)


def within_budget(got, plain, truth):
    """Hold the error to 2 (error of plain PyTorch in the same dtype + eps max|truth|)."""
    eps = torch.finfo(got.dtype).eps * truth.abs().max()
    error, allowed = got.double() - truth, plain.double() - truth
    rms = lambda x: x.square().mean().sqrt()  # noqa: E731
    assert error.abs().max() <= 2 * (allowed.abs().max() + eps)
    assert rms(error) <= 2 * (rms(allowed) + eps)


def plain_attention(q, k, v, scale):
    return torch.softmax(q @ k.mT * scale, -1) @ v


@pytest.mark.parametrize("impl", ["auto", "reference"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("s", "t", "d"), SHAPES)
def test_output_is_softmax_attention(rng, impl, causal, s, t, d):
    q, k, v = draw(rng, s, t, d)
    out = attention(q, k, v, is_causal=causal, impl=impl)
    torch.testing.assert_close(out, golden(q, k, v, d**-0.5, causal=causal), rtol=1e-11, atol=1e-12)
    out = attention(q, k, v, scale=0.3, impl=impl)
    torch.testing.assert_close(out, golden(q, k, v, 0.3), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_low_precision_is_within_the_budget(rng, impl, dtype):
    q, k, v = draw(rng, 65, 130, 64, dtype=dtype)
    out = attention(q, k, v, impl=impl)
    assert out.dtype == dtype
    within_budget(out, plain_attention(q, k, v, 0.125), golden(q, k, v, 0.125))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_tangents_are_within_the_budget(rng, dtype):
    primals, tangents = draw(rng, 33, 65, 32, dtype=dtype), draw(rng, 33, 65, 32, dtype=dtype)
    wide = [tuple(x.double() for x in part) for part in (primals, tangents)]
    truth = attention_with_tangent(*wide[0], *wide[1]).tangent
    plain = torch.func.jvp(lambda *p: plain_attention(*p, 32**-0.5), primals, tangents)[1]
    within_budget(attention_with_tangent(*primals, *tangents).tangent, plain, truth)
    within_budget(torch.func.jvp(attention, primals, tangents)[1], plain, truth)


@pytest.mark.parametrize("causal", [False, True])
def test_tangent_is_the_central_difference(rng, causal):
    primals, tangents = draw(rng, 9, 13, 16), draw(rng, 9, 13, 16)
    h = 1e-5
    ends = [
        golden(
            *(p + sign * h * t for p, t in zip(primals, tangents, strict=True)), 0.25, causal=causal
        )
        for sign in (1, -1)
    ]
    out, tangent = attention_with_tangent(*primals, *tangents, is_causal=causal)
    torch.testing.assert_close(out, golden(*primals, 0.25, causal=causal), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(tangent, (ends[0] - ends[1]) / (2 * h), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_every_forward_mode_gives_the_same_tangent(rng, impl, grad):
    primals, tangents = draw(rng, 9, 13, 16), draw(rng, 9, 13, 16)
    expected = attention_with_tangent(*primals, *tangents)

    def attend(*inputs):
        return attention(*inputs, impl=impl)

    with torch.set_grad_enabled(grad):
        by_function = torch.func.jvp(attend, primals, tangents)
        with forward_ad.dual_level():
            pairs = zip(primals, tangents, strict=True)
            by_level = forward_ad.unpack_dual(attend(*(forward_ad.make_dual(*p) for p in pairs)))
        query_only = torch.func.jvp(lambda q: attend(q, *primals[1:]), primals[:1], tangents[:1])
    torch.testing.assert_close(by_function, tuple(expected), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(tuple(by_level), tuple(expected), rtol=1e-12, atol=1e-13)
    still = [torch.zeros_like(x) for x in tangents[1:]]
    expected = attention_with_tangent(*primals, tangents[0], *still)
    torch.testing.assert_close(query_only, tuple(expected), rtol=1e-12, atol=1e-13)


def test_auto_takes_the_fused_path_only_where_no_tangent_is_alive(rng, monkeypatch):
    """The fused CUDA kernels refuse forward mode; on the CPU they happen not to."""
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *a, **k: (calls.append(1), fused(*a, **k))[1],
    )
    primals, tangents = draw(rng, 3, 5, 4), draw(rng, 3, 5, 4)
    torch.func.jvp(attention, primals, tangents)
    torch.func.vmap(attention)(*(x[:, None] for x in primals))
    with forward_ad.dual_level():
        attention(*primals)
    attention(*primals, impl="reference")
    assert not calls
    attention(*primals)
    assert calls


def test_gradients_flow_through_output_and_tangent(rng):
    inputs = [
        x.clone().requires_grad_()
        for x in (*draw(rng, 3, 5, 4, heads=1), *draw(rng, 3, 5, 4, heads=1))
    ]
    assert torch.autograd.gradcheck(lambda *x: tuple(attention_with_tangent(*x)), inputs)
    assert torch.autograd.gradcheck(lambda *x: torch.func.jvp(attention, x[:3], x[3:]), inputs)


def test_reference_has_second_derivatives(rng):
    inputs = [x.clone().requires_grad_() for x in draw(rng, 3, 5, 4, heads=1)]
    assert torch.autograd.gradgradcheck(lambda *x: attention(*x, impl="reference"), inputs)


def test_plain_gradients_agree(rng):
    inputs = [x.clone().requires_grad_() for x in draw(rng, 9, 13, 16)]
    weight = torch.randn(2, 3, 9, 20, generator=rng, dtype=torch.float64)
    grads = [
        torch.autograd.grad((attention(*inputs, impl=impl) * weight).sum(), inputs)
        for impl in ("auto", "reference")
    ]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_traces_in_one_piece_with_and_without_tangents(rng, backend):
    primals, tangents = draw(rng, 9, 13, 16), draw(rng, 9, 13, 16)
    torch.compiler.reset()
    plain = torch.compile(attention, fullgraph=True, backend=backend)
    both = torch.compile(
        lambda p, t: torch.func.jvp(attention, p, t), fullgraph=True, backend=backend
    )
    expected = attention_with_tangent(*primals, *tangents)
    with torch.no_grad():
        torch.testing.assert_close(plain(*primals), expected.output, rtol=1e-11, atol=1e-12)
        got = both(primals, tangents)
        torch.testing.assert_close(got, tuple(expected), rtol=1e-11, atol=1e-12)
        # A plain call after the other must not reuse its trace.
        torch.testing.assert_close(plain(*primals), expected.output, rtol=1e-11, atol=1e-12)


def test_reference_ignores_autocast(rng):
    primals = draw(rng, 9, 13, 16, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(*primals, impl="reference")
    torch.testing.assert_close(out, attention(*primals, impl="reference"), rtol=0, atol=0)


def test_inference_mode_never_loses_tangents_silently(rng):
    """Newer versions leave inference mode within torch.func.jvp; everything else is refused."""
    primals, tangents = draw(rng, 3, 5, 4), draw(rng, 3, 5, 4)
    with torch.inference_mode():
        with forward_ad.dual_level(), pytest.raises(RuntimeError, match="use torch.no_grad"):
            attention(*primals)
        try:
            got = torch.func.jvp(attention, primals, tangents)[1]
        except RuntimeError as refusal:
            assert "use torch.no_grad" in str(refusal)
            return
    torch.testing.assert_close(got, attention_with_tangent(*primals, *tangents).tangent)


def test_messages_say_what_was_expected_and_what_came(rng):
    q, k, v = draw(rng, 9, 13, 16)
    with pytest.raises(ValueError, match="impl 'flash'. Available: auto, reference, triton."):
        attention(q, k, v, impl="flash")
    with pytest.raises(ValueError, match=r"query must have shape \(B, H, S, D\), got \(3, 9, 16\)"):
        attention(q[0], k, v)
    with pytest.raises(ValueError, match=r"key must have shape \(2, 3, 13, 16\), got"):
        attention(q, k[..., :8], v)
    with pytest.raises(ValueError, match=r"value must have shape \(2, 3, 13, 20\), got"):
        attention(q, k, v[:, :, :5])
    with pytest.raises(ValueError, match=r"got torch.float64, torch.float32, torch.float64"):
        attention(q, k.float(), v)
    with pytest.raises(ValueError, match="key_tangent must be torch.float64 of shape"):
        attention_with_tangent(q, k, v, q, v, v)
