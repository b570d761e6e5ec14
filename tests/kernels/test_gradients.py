"""Gradients through output and tangent in every mode, for any subset of tangents, in fp64."""

import itertools
from functools import partial

import inputs
import pytest
import torch
from torch.autograd import forward_ad

from rcm_kernels import attention, attention_with_tangent
from rcm_kernels.functions import ReferenceFunction

draw = partial(inputs.draw, heads=2, groups=2, s=5, t=7, d=4)


def plain_attention(q, k, v):
    return torch.softmax(q @ k.mT / 2, -1) @ v


SUBSETS = [s for s in itertools.product([False, True], repeat=3) if any(s)]


def jvp_some(function, primals, tangents, moving):
    """Differentiate by the moving inputs only: the others have no tangent at all."""
    given = [i for i in range(3) if moving[i]]

    def of_given(*some):
        full = list(primals)
        for i, x in zip(given, some, strict=True):
            full[i] = x
        return function(*full)

    some = [tuple(part[i] for i in given) for part in (primals, tangents)]
    return torch.func.jvp(of_given, *some)


def level_some(function, primals, tangents, moving):
    with forward_ad.dual_level():
        full = [
            forward_ad.make_dual(p, t) if m else p
            for p, t, m in zip(primals, tangents, moving, strict=True)
        ]
        return forward_ad.unpack_dual(function(*full))


def explicit(function, primals, tangents, moving):
    return attention_with_tangent(
        *primals, *(t if m else None for t, m in zip(tangents, moving, strict=True))
    )


@pytest.mark.parametrize("moving", SUBSETS)
@pytest.mark.parametrize("way", [jvp_some, level_some, explicit])
@pytest.mark.parametrize("pulled", ["output", "tangent", "both"])
def test_six_gradients_are_autograd_s(rng, moving, way, pulled):
    primals, tangents = draw(rng, requires_grad=True), draw(rng, requires_grad=True)
    leaves = [*primals, *(t for t, m in zip(tangents, moving, strict=True) if m)]
    pulls = [torch.randn(2, 2, 5, 6, generator=rng, dtype=torch.float64) for _ in range(2)]

    def gradients(result):
        loss = 0.0
        if pulled != "tangent":
            loss = loss + (result[0] * pulls[0]).sum()
        if pulled != "output":
            loss = loss + (result[1] * pulls[1]).sum()
        return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)

    expected = jvp_some(plain_attention, primals, tangents, moving)
    got = way(lambda *x: attention(*x, impl="reference"), primals, tangents, moving)
    assert {"ReferenceFunctionBackward"} <= {n.name() for n in ancestors(got[1].grad_fn)}
    torch.testing.assert_close(tuple(got), expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(gradients(got), gradients(expected), rtol=1e-11, atol=1e-13)


def ancestors(node):
    yield node
    for parent, _ in node.next_functions:
        if parent is not None:
            yield from ancestors(parent)


def test_nothing_quadratic_is_kept_for_the_backward(rng):
    kept = []
    pack = lambda x: (kept.append(tuple(x.shape)), x)[1]  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        attention_with_tangent(*draw(rng, requires_grad=True), *draw(rng))
    assert kept
    assert not [shape for shape in kept if shape[-2:] == (5, 7)]


@pytest.mark.parametrize(
    "derivative",
    [
        lambda f: torch.func.grad(lambda x: torch.func.jvp(f, (x,), (x.cos(),))[1]),
        lambda f: torch.func.grad(lambda x: torch.func.grad(f)(x).square().sum()),
        lambda f: lambda x: torch.func.jvp(torch.func.grad(f), (x,), (x.cos(),))[1],
        lambda f: (
            lambda x: torch.func.jvp(
                lambda y: torch.func.jvp(f, (y,), (y.sin(),))[1], (x,), (x.cos(),)
            )[1]
        ),
        lambda f: torch.func.jacfwd(f),
        lambda f: torch.func.hessian(f),
        lambda f: lambda x: torch.func.vmap(f)(x[None]),
    ],
    ids=["grad of jvp", "grad of grad", "jvp of grad", "jvp of jvp", "jacfwd", "hessian", "vmap"],
)
def test_every_nesting_of_transforms(rng, derivative):
    q, k, v = draw(rng)
    weight = torch.randn(2, 2, 5, 6, generator=rng, dtype=torch.float64)

    def of(attend):
        def scalar(x):
            keys = x.flip(2).tile(1, 1, 2, 1)[:, :, :7]
            return (attend(x, keys, v) * weight).sum()

        return scalar

    expected = derivative(of(plain_attention))(q)
    got = derivative(of(lambda *x: attention(*x, impl="reference")))(q)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_backward_inside_a_level_is_right_or_refused(rng):
    """Its gradients have tangents of their own, which the saved inputs no longer show."""
    primals, tangents = draw(rng, requires_grad=True), draw(rng)
    with forward_ad.dual_level():
        dual = [forward_ad.make_dual(p, t) for p, t in zip(primals, tangents, strict=True)]
        out = attention(*dual)
        with pytest.raises(RuntimeError, match="leave the level first"):
            torch.autograd.grad(out.sum(), primals)
        plain = attention(*primals, impl="reference")
        got = torch.autograd.grad(plain.sum(), primals)
    expected = torch.autograd.grad(plain_attention(*primals).sum(), primals)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


def test_tangents_of_another_dtype_are_refused(rng):
    primals, tangents = draw(rng), draw(rng)
    with forward_ad.dual_level(), pytest.raises(ValueError, match="query_tangent must be torch.fl"):
        attention(forward_ad.make_dual(primals[0], tangents[0].float()), *primals[1:])


def test_no_tangent_at_all_is_a_tangent_of_zero(rng):
    result = attention_with_tangent(*draw(rng), None, None, None)
    assert not result.tangent.any()
    assert result.tangent.shape == result.output.shape


def test_the_function_never_sees_dual_tensors(rng):
    with forward_ad.dual_level(), pytest.raises(AssertionError, match="must be unpacked"):
        dual = [forward_ad.make_dual(p, p) for p in draw(rng)]
        ReferenceFunction.apply(*dual, None, None, None, None, None, 0.5)
