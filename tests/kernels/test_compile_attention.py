"""torch.compile over a model that attends: right tangents or an error, in every nesting."""

import os
import secrets

import pytest
import torch
from torch.autograd import forward_ad

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from rcm_kernels import attention, attention_with_tangent

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BACKENDS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


class Model(torch.nn.Module):
    """Projections around an attention."""

    def __init__(self, impl, generator):
        super().__init__()
        self.impl = impl
        weight = torch.randn(48, 16, generator=generator) / 4
        self.weight = torch.nn.Parameter(weight.to(DEVICE))

    def forward(self, x):
        q, k, v = (x @ self.weight.T).chunk(3, -1)
        return attention(q, k, v, impl=self.impl).sin()


def by_function(model, x, tx):
    return torch.func.jvp(model, (x,), (tx,))


def by_level(model, x, tx):
    with forward_ad.dual_level():
        return tuple(forward_ad.unpack_dual(model(forward_ad.make_dual(x, tx))))


def inside(model, x, tx, *, fullgraph, backend):
    run = torch.compile(
        lambda x, tx: by_function(model, x, tx), fullgraph=fullgraph, backend=backend
    )
    return run(x, tx)


def outside(way):
    def run(model, x, tx, *, fullgraph, backend):
        return way(torch.compile(model, fullgraph=fullgraph, backend=backend), x, tx)

    return run


# https://github.com/pytorch/pytorch/issues/187284: seen with 2.11, not with 2.14.
BEFORE_2_14 = tuple(int(x) for x in torch.__version__.split(".")[:2]) < (2, 14)
NESTINGS = {
    "jvp inside": inside,
    "jvp outside": outside(by_function),
    "level outside": outside(by_level),
}


@pytest.fixture
def problem():
    seed = secrets.randbits(31)
    print(f"seed {seed}")
    generator = torch.Generator().manual_seed(seed)
    torch.compiler.reset()
    x, tx = (torch.randn(1, 2, 17, 16, generator=generator).to(DEVICE) for _ in range(2))
    return generator, x, tx


def written_out(model, x, tx):
    """The tangent by hand, in float64, without forward mode."""
    weight = model.weight.detach().double()
    primals, tangents = ((z.double() @ weight.T).chunk(3, -1) for z in (x, tx))
    out, tangent = attention_with_tangent(*primals, *tangents, impl="reference")
    return out.sin(), out.cos() * tangent


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("impl", ["auto", "triton"])
@pytest.mark.parametrize("nesting", NESTINGS)
def test_tangents_are_right(problem, nesting, impl, grad, backend):
    if (
        BEFORE_2_14
        and (nesting, impl) == ("level outside", "auto")
        and (grad or backend == "inductor")
    ):
        pytest.xfail("what is compiled before the attention raises or, by Inductor, drops tangents")
    generator, x, tx = problem
    model = Model(impl, generator)
    with torch.set_grad_enabled(grad):
        got = NESTINGS[nesting](model, x, tx, fullgraph=False, backend=backend)
    expected = written_out(model, x, tx)
    close = {"rtol": 2e-4, "atol": 2e-5}
    torch.testing.assert_close([z.double() for z in got], list(expected), **close)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("impl", ["auto", "triton"])
@pytest.mark.parametrize("nesting", NESTINGS)
def test_in_one_piece_tangents_are_right_or_it_is_an_error(problem, nesting, impl, backend):
    generator, x, tx = problem
    model = Model(impl, generator)
    if (nesting, impl) == ("jvp inside", "auto"):
        got = inside(model, x, tx, fullgraph=True, backend=backend)
        expected = written_out(model, x, tx)
        torch.testing.assert_close([z.double() for z in got], list(expected), rtol=2e-4, atol=2e-5)
        return
    with pytest.raises(Exception, match="torch.compile|Unsupported|dual_level|functorch"):
        NESTINGS[nesting](model, x, tx, fullgraph=True, backend=backend)


def test_a_plain_call_is_compiled_to_the_fused_attention():
    """Not to the written-out reference, which is for tangents."""
    called = []

    def backend(module, _):
        called.extend(str(node.target) for node in module.graph.nodes)
        return module

    attend = torch.compile(attention, backend=backend, fullgraph=True)
    q, k, v = torch.randn(3, 2, 2, 8, 16, device=DEVICE)
    out = attend(q, k, v)
    assert any("scaled_dot_product_attention" in name for name in called), called
    torch.testing.assert_close(out, attention(q, k, v, impl="reference"), rtol=1e-4, atol=1e-5)
    with_tangent = torch.compile(
        lambda q: torch.func.jvp(lambda x: attention(x, k, v), (q,), (q,)), backend="aot_eager"
    )
    moved = attention_with_tangent(q, k, v, q, None, None)
    torch.testing.assert_close(with_tangent(q), tuple(moved), rtol=1e-4, atol=1e-5)


def test_a_trace_asks_nothing_of_the_gpu(monkeypatch):
    """A capability that is asked for would be one more call in what is compiled."""
    from rcm_kernels import choice

    def asked(query):
        return torch.cuda.get_device_capability(query.device) == (9, 0)

    called = []

    def backend(module, _):
        called.extend(str(node.target) for node in module.graph.nodes)
        return module

    monkeypatch.setattr(choice, "unasked", asked)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device=None: FakeHopper)
    inputs = torch.randn(6, 1, 2, 8, 16, device=DEVICE).bfloat16().unbind()
    for run in (
        lambda *x: torch.func.jvp(attention, x[:3], x[3:]),
        lambda *x: tuple(attention_with_tangent(*x)),
    ):
        torch.compiler.reset()
        found = torch.compile(run, backend=backend, fullgraph=True)(*inputs)
        expected = attention_with_tangent(*inputs, impl="reference")
        torch.testing.assert_close(found, tuple(expected))
    assert called
    assert not any("capability" in name for name in called), called


class FakeHopper:
    """What a GPU says of itself."""

    major, minor = 9, 0
