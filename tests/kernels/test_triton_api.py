"""The fused kernels through the public functions, interpreted where there is no GPU."""

import os

import pytest
import torch
from torch.autograd import forward_ad

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from rcm_kernels import attention, attention_with_tangent, choice, fused

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() == INTERPRETED, reason="TRITON_INTERPRET contradicts the device"
)
CLOSE = {"rtol": 2e-4, "atol": 2e-5}  # float32 against float64


def draw(rng, *, requires_grad=False):
    """Return (q, k, v) in (B, S, H, D) memory, with a value size of its own and shared heads."""
    shapes = ((1, 33, 2, 24), (1, 37, 1, 24), (1, 37, 1, 16))
    drawn = [torch.randn(shape, generator=rng).to(DEVICE).transpose(1, 2) for shape in shapes]
    return [x.requires_grad_(requires_grad) for x in drawn]


def wide(tensors):
    return [x.detach().double().requires_grad_(x.requires_grad) for x in tensors]


def attend(*inputs, impl="triton"):
    return attention(*inputs, impl=impl, enable_gqa=True)


def by_function(primals, tangents, impl):
    return torch.func.jvp(lambda *x: attend(*x, impl=impl), tuple(primals), tuple(tangents))


def by_level(primals, tangents, impl):
    with forward_ad.dual_level():
        dual = [forward_ad.make_dual(*pair) for pair in zip(primals, tangents, strict=True)]
        return tuple(forward_ad.unpack_dual(attend(*dual, impl=impl)))


def explicit(primals, tangents, impl):
    return tuple(attention_with_tangent(*primals, *tangents, impl=impl, enable_gqa=True))


@pytest.mark.parametrize("way", [by_function, by_level, explicit])
def test_every_mode_gives_output_tangent_and_six_gradients(rng, way):
    primals, tangents = draw(rng, requires_grad=True), draw(rng, requires_grad=True)
    pulls = [torch.randn(1, 2, 33, 16, generator=rng).to(DEVICE) for _ in range(2)]

    def gradients(result, leaves):
        loss = sum((x * g).sum() for x, g in zip(result, pulls, strict=True))
        return torch.autograd.grad(loss, leaves)

    got = way(primals, tangents, "triton")
    exact_primals, exact_tangents = wide(primals), wide(tangents)
    expected = explicit(exact_primals, exact_tangents, "reference")
    torch.testing.assert_close([x.double() for x in got], list(expected), **CLOSE)
    got_grads = gradients(got, [*primals, *tangents])
    grads = gradients(expected, [*exact_primals, *exact_tangents])
    torch.testing.assert_close([x.double() for x in got_grads], list(grads), **CLOSE)
    with torch.no_grad():
        torch.testing.assert_close(way(primals, tangents, "triton")[1], got[1])


@pytest.mark.parametrize("way", [by_level, explicit])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_without_a_gradient_to_come_no_autograd_function_is_built(rng, way, mode, monkeypatch):
    asked = draw(rng, requires_grad=mode is torch.no_grad), draw(rng)
    with torch.enable_grad():
        needed = way([x.detach().requires_grad_() for x in asked[0]], asked[1], "triton")
    monkeypatch.setattr(fused.TritonFunction, "apply", None)
    with mode():
        found = way(*asked, "triton")
    assert not any(x.requires_grad for x in found)
    torch.testing.assert_close(list(found), [x.detach() for x in needed], rtol=0, atol=0)


def test_pytorch_s_checkpoint_gives_the_same_gradients(rng):
    """It lets a backward read what was saved only once."""
    from torch.utils.checkpoint import checkpoint

    leaves = [*draw(rng, requires_grad=True), *draw(rng, requires_grad=True)]

    def run(*tensors):
        return explicit(tensors[:3], tensors[3:], "triton")

    def gradients(result):
        sum(x.square().sum() for x in result).backward()
        found = [x.grad for x in leaves]
        for leaf in leaves:
            leaf.grad = None
        return found

    kept = gradients(run(*leaves))
    again = gradients(checkpoint(run, *leaves, use_reentrant=False))
    torch.testing.assert_close(again, kept, rtol=0, atol=0)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_no_mode_without_gradients_loses_a_tangent(rng, mode):
    primals, tangents = draw(rng, requires_grad=True), draw(rng, requires_grad=True)
    expected = explicit(primals, tangents, "triton")
    with mode(), torch.autocast(torch.device(DEVICE).type, dtype=torch.bfloat16):
        found = explicit(primals, tangents, "triton")
    torch.testing.assert_close(found, tuple(x.detach() for x in expected), rtol=0, atol=0)


@pytest.mark.parametrize(("way", "only"), [(by_level, 0), (explicit, 2)])
def test_a_tangent_alone_that_requires_a_gradient_gets_it(rng, way, only):
    primals, tangents = draw(rng), draw(rng)
    tangents[only].requires_grad_()
    (found,) = torch.autograd.grad(way(primals, tangents, "triton")[1].sum(), tangents[only])
    exact = wide(tangents)
    result = explicit(wide(primals), exact, "reference")[1]
    (expected,) = torch.autograd.grad(result.sum(), exact[only])
    torch.testing.assert_close(found.double(), expected, **CLOSE)


def test_plain_calls_and_torch_func_grad(rng):
    primals = draw(rng, requires_grad=True)
    grads = torch.autograd.grad(attend(*primals).square().sum(), primals)
    exact = wide(primals)
    expected = torch.autograd.grad(attend(*exact, impl="reference").square().sum(), exact)
    torch.testing.assert_close([x.double() for x in grads], list(expected), **CLOSE)
    by_transform = torch.func.grad(lambda q: attend(q, *primals[1:]).square().sum())(primals[0])
    torch.testing.assert_close(by_transform, grads[0])


def test_more_than_first_gradients_are_refused(rng):
    primals = draw(rng, requires_grad=True)
    (grad,) = torch.autograd.grad(attend(*primals).square().sum(), primals[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="first gradients only"):
        grad.sum().backward()


def test_what_it_cannot_run_is_an_error_with_the_reason(rng):
    q, k, v = draw(rng)
    refused = "impl='triton' cannot run this: "
    with pytest.raises(ValueError, match=refused + "it reads no attn_mask"):
        seen = torch.ones(33, 37, dtype=torch.bool, device=DEVICE)
        attention(q, k, v, impl="triton", enable_gqa=True, attn_mask=seen)
    with pytest.raises(ValueError, match=refused + "the dtype must be float16.*got torch.float64"):
        attend(q.double(), k.double(), v.double())
    with pytest.raises(ValueError, match=refused + "the head size of query must be 16"):
        attend(q[..., :8], k[..., :8], v)
    with pytest.raises(ValueError, match=refused + "scale must be positive, got -1"):
        attention(q, k, v, impl="triton", enable_gqa=True, scale=-1.0)
    with pytest.raises(ValueError, match=refused + "it serves one forward-mode level"):
        torch.func.vmap(attend)(q[None], k[None], v[None])
    with pytest.raises(ValueError, match=refused + "it serves one forward-mode level"):
        torch.func.jvp(torch.func.grad(lambda x: attend(x, k, v).sum()), (q,), (q,))


def test_without_a_gpu_it_is_an_error(rng, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="needs CUDA tensors, or TRITON_INTERPRET=1.*got cpu"):
        attend(*(x.cpu() for x in draw(rng)))


def test_auto_interprets_nothing(rng, monkeypatch):
    """An interpreted kernel is asked for by name."""
    from rcm_kernels import functions

    monkeypatch.setattr(functions.TritonFunction, "apply", lambda *_: pytest.fail("taken"))
    by_function(draw(rng), draw(rng), "auto")


@pytest.mark.gpu
@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() != (9, 0),
    reason="elsewhere the kernels are taken when asked for",
)
@pytest.mark.parametrize(("dtype", "taken"), [(torch.bfloat16, True), (torch.float32, False)])
def test_auto_takes_the_kernels_for_tangents_of_16_bits(rng, dtype, taken):
    from rcm_kernels.launches import counted_launches

    primals, tangents = ([x.to("cuda", dtype) for x in draw(rng)] for _ in range(2))
    with counted_launches() as launched:
        by_function(primals, tangents, "auto")
        assert bool(launched) == taken


def test_without_tangents_auto_is_pytorch_s_own(rng, monkeypatch):
    """Which is as fast, and takes what a user has chosen of it."""
    from rcm_kernels import choice
    from rcm_kernels.launches import counted_launches

    monkeypatch.setattr(choice, "unasked", lambda _: True)
    primals = draw(rng)
    with counted_launches() as launched:
        plain = attend(*primals, impl="auto")
        assert launched == []
        output, _ = by_function(primals, draw(rng), "auto")
        assert launched
    torch.testing.assert_close(plain, output, **CLOSE)


@pytest.mark.parametrize(("there", "fault"), [(True, None), (False, "Triton is not installed")])
def test_a_gpu_without_triton_cannot_run_them(monkeypatch, there, fault):
    """So that ``auto`` takes the reference there, and ``triton`` says why not."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(choice, "find_spec", lambda name: "found" if there else None)
    monkeypatch.setattr(choice, "_has_triton", choice._has_triton.__wrapped__)
    assert choice._why_not_here(torch.device("cuda")) == fault


@pytest.mark.parametrize(
    ("version", "reads", "fault"),
    [
        ("3.6.0", False, "the interpreter of Triton 3.6.0 needs NumPy before 2.4, got "),
        ("3.6.0", True, None),
        ("3.7.0", False, None),
    ],
)
def test_a_numpy_that_breaks_the_interpreter_is_named(monkeypatch, version, reads, fault):
    import numpy as np
    import triton

    monkeypatch.setattr(triton, "__version__", version)
    monkeypatch.setattr(
        np, "ones", (lambda n: 1) if reads else (lambda n: [])
    )  # int([]): TypeError
    found = choice.why_not_interpreted.__wrapped__()
    assert found is None if fault is None else found.startswith(fault)
