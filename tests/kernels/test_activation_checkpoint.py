"""The activation checkpoint: same values, tangents and gradients, and it does recompute."""

import secrets

import pytest
import torch
from torch.autograd import forward_ad

from rcm_kernels import attention
from rcm_kernels.checkpoint import checkpoint

DIM, HEADS = 32, 2


class Block(torch.nn.Module):
    """A transformer's block with SiLU and a time, which scales the queries."""

    def __init__(self):
        super().__init__()
        self.qkv = torch.nn.Linear(DIM, 3 * DIM)
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(DIM, 64), torch.nn.SiLU(), torch.nn.Linear(64, DIM)
        )
        self.calls = 0

    def forward(self, x, conditions):
        self.calls += 1
        t, names = conditions["t"], conditions["names"]
        assert names == "kept"
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        out = attention(q * (1 + t[:, None, None, None]), k, v, impl="reference")
        x = x + out.transpose(1, 2).flatten(2)
        return x + self.mlp(x), None


@pytest.fixture
def problem():
    seed = secrets.randbits(31)
    print(f"seed {seed}")
    torch.manual_seed(seed)
    blocks = torch.nn.ModuleList([Block(), Block()]).double()
    x, dx, weight = (torch.randn(2, 9, DIM, dtype=torch.float64) for _ in range(3))
    return blocks, x, dx, weight


def solve(blocks, x, dx, weight, *, keep, tangent_in_loss):
    """Return output, tangent and the gradients of parameters and input."""
    t, dt = torch.tensor([0.2, 0.7], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    x = x.clone().requires_grad_()
    blocks.zero_grad()
    with forward_ad.dual_level():
        moving = forward_ad.make_dual(x, dx)
        conditions = {"t": forward_ad.make_dual(t, dt), "names": "kept"}
        for block in blocks:
            ask = block if keep else lambda *args, block=block: checkpoint(block, *args)
            moving, nothing = ask(moving, conditions)
            assert nothing is None
        out, tangent = forward_ad.unpack_dual(moving)
    loss = (out * weight).sum() + tangent_in_loss * (tangent * weight.flip(0)).sum()
    loss.backward()
    return [out, tangent, x.grad, *(p.grad for p in blocks.parameters())]


@pytest.mark.parametrize("tangent_in_loss", [0, 1])
def test_same_tangents_and_gradients_and_less_kept(problem, tangent_in_loss):
    blocks = problem[0]
    expected = solve(*problem, keep=True, tangent_in_loss=tangent_in_loss)
    assert [block.calls for block in blocks] == [1, 1]
    got = solve(*problem, keep=False, tangent_in_loss=tangent_in_loss)
    assert [block.calls for block in blocks] == [3, 3]
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_without_tangents_it_is_an_ordinary_checkpoint(problem):
    blocks, x, _, weight = problem
    results = []
    for ask in (blocks[0], lambda *args: checkpoint(blocks[0], *args)):
        blocks.zero_grad()
        out, _ = ask(x, {"t": torch.zeros(2, dtype=torch.float64), "names": "kept"})
        (out * weight).sum().backward()
        results.append([out.detach(), *(p.grad.clone() for p in blocks[0].parameters())])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-13)


def test_torch_func_is_refused(problem):
    blocks, x, dx, _ = problem
    conditions = {"t": torch.zeros(2, dtype=torch.float64), "names": "kept"}
    with pytest.raises(RuntimeError) as refused:
        torch.func.jvp(lambda y: checkpoint(blocks[0], y, conditions)[0], (x,), (dx,))
    assert str(refused.value) == (
        "checkpoint carries tangents within forward_ad.dual_level(), not within torch.func.jvp "
        "or another transform of torch.func: ask for the tangent with forward_ad"
    )
