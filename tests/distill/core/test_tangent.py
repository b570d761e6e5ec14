"""The ways to take a tangent agree, each to its order, and the exact one compiles in one piece."""

import pytest
import torch
from torch import nn

from rcm_distill.analytic import GaussianMixture
from rcm_distill.denoiser import VelocityDenoiser
from rcm_distill.tangent import Tangent, tangent
from rcm_kernels import attention


@pytest.fixture
def problem(randn, rand_t):
    mixture = GaussianMixture(
        randn(3, 2), 0.4 + randn(3).square(), torch.ones(3, dtype=torch.float64)
    )
    return mixture, randn(16, 2), rand_t(16, 0.2, 1.4), randn(16, 2), randn(16)


def test_exact_is_the_derivative_along_the_direction(problem):
    mixture, x, t, dx, dt = problem
    got = tangent(mixture, x, t, dx, dt, None)
    h = torch.zeros((), dtype=torch.float64, requires_grad=True)
    F = mixture(x + h * dx, t + h * dt, None).F
    rows = [torch.autograd.grad(f, h, retain_graph=True)[0] for f in F.flatten()]
    torch.testing.assert_close(got.F, F, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got.dF.flatten(), torch.stack(rows), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("method", "order"), [("finite_difference", 2), ("semi_continuous", 1)])
def test_differences_agree_to_their_order(problem, method, order):
    exact = tangent(problem[0], *problem[1:], None).dF
    errors = [
        (tangent(problem[0], *problem[1:], None, method=method, step=h).dF - exact).norm()
        for h in (1e-3, 1e-4)
    ]
    slope = torch.log10(errors[0] / errors[1])
    assert slope.item() == pytest.approx(order, abs=0.15)


def test_default_steps_are_accurate(problem):
    exact = tangent(problem[0], *problem[1:], None).dF
    for method in ("finite_difference", "semi_continuous"):
        got = tangent(problem[0], *problem[1:], None, method=method).dF
        assert (got - exact).norm() < 2e-3 * exact.norm()


def test_a_denoiser_with_a_tangent_of_its_own_is_asked(problem):
    class Own:
        def __call__(self, x_t, t_B, cond, *, s_B=None):
            raise AssertionError("not called")

        def tangent(self, x_t, t_B, dx, dt_B, cond):
            return Tangent(x_t, dx)

    _, x, t, dx, dt = problem
    assert tangent(Own(), x, t, dx, dt, None).dF is dx


def test_messages(problem):
    with pytest.raises(ValueError, match="unknown tangent method 'jvp'. Available: exact, finite"):
        tangent(problem[0], *problem[1:], None, method="jvp")
    with pytest.raises(ValueError, match="'exact' takes no step, got 0.1"):
        tangent(problem[0], *problem[1:], None, step=0.1)


class TinyTransformer(nn.Module):
    """One attention block with time and condition: what a real network's trace goes through."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 8)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.time = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 8))

    def forward(self, x, t, cond):
        h = x + self.embed(cond)[:, None] + self.time(torch.stack([t.cos(), t.sin()], -1))[:, None]
        q, k, v = self.qkv(nn.functional.layer_norm(h, (8,))).chunk(3, -1)
        heads = [part.unflatten(-1, (2, 4)).transpose(1, 2) for part in (q, k, v)]
        return h + self.out(attention(*heads).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_exact_tangent_of_a_transformer_compiles_in_one_piece(rng, randn, rand_t, backend):
    torch.compiler.reset()
    net = TinyTransformer().double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, generator=rng)
    cond = torch.randint(5, (4,), generator=rng)
    inputs = (randn(4, 6, 8), rand_t(4), randn(4, 6, 8), randn(4), cond)

    def exact(x, t, dx, dt, cond):
        return tangent(VelocityDenoiser(net), x, t, dx, dt, cond)

    with torch.no_grad():
        compiled = torch.compile(exact, fullgraph=True, backend=backend)(*inputs)
        expected = exact(*inputs)
        by_difference = tangent(
            VelocityDenoiser(net), *inputs, method="finite_difference", step=1e-5
        )
    torch.testing.assert_close(tuple(compiled), tuple(expected), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(expected.dF, by_difference.dF, rtol=1e-5, atol=1e-5)
