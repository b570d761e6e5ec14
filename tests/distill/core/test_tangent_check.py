"""The check of tangents finds what is known to be wrong, where it is, and nothing else."""

import pytest
import torch
from torch import nn

from rcm_distill.nets import DiT, DiTConfig
from rcm_distill.tangent import tangent
from rcm_distill.tangent_check import MODES, VelocityDenoiser, check_tangent, direction, in_mode


class RoundedTime(nn.Module):
    """Rounds 1000 t to bf16, as published training code does."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, t, cond):
        return self.net(x, (1000 * t).bfloat16().to(t.dtype) / 1000, cond)


@pytest.fixture
def problem(rng):
    net = DiT(DiTConfig(vocab_size=9, width=32, depth=2, num_heads=2, text_depth=1))
    for parameter in net.parameters():
        if parameter.ndim > 1 or not parameter.abs().sum():
            nn.init.normal_(parameter, std=0.2, generator=rng)
    x_t = torch.randn(4, 3, 40, 40, generator=rng)
    t_B = 0.3 + torch.rand(4, generator=rng)
    return net, x_t, t_B, torch.randint(0, 9, (4, 12), generator=rng)


def test_errors_are_those_of_the_tangent_itself(problem):
    """By an independent pass in both precisions, and less with more bits of mantissa."""
    net, x_t, t_B, cond = problem
    reports = {mode: check_tangent(net, x_t, t_B, cond, mode=mode) for mode in MODES}
    with torch.no_grad():
        F = VelocityDenoiser(net.double())(x_t.double(), t_B.double(), cond).F
        dx, dt_B = direction(F, x_t.double(), t_B.double())
        exact = tangent(VelocityDenoiser(net), x_t.double(), t_B.double(), dx, dt_B, cond).dF
        net.float()
        dx, dt_B = direction(F, x_t, t_B)
        low = VelocityDenoiser(in_mode(net, "bf16 autocast"))
        got = tangent(low, x_t, t_B, dx, dt_B, cond).dF
    expected = ((got - exact).norm() / exact.norm()).item()
    assert reports["bf16 autocast"].whole.tangent == pytest.approx(expected, rel=0.1)
    errors = [reports[mode].whole.tangent for mode in MODES]
    assert errors[0] < 1e-4
    # Twenty-three bits of mantissa, ten, seven: a factor of 8 between the last two, 5 to 14 in 26
    # draws. Weights in bf16 lose about as much as products in it.
    assert 10 * errors[0] < errors[1]
    assert 2 < errors[2] / errors[1] < 32
    assert 0.25 < errors[3] / errors[2] < 8


def test_layers_are_named_in_the_order_of_the_pass(problem):
    report = check_tangent(*problem)
    names = [row.layer for row in report.layers]
    assert names.index("patch_in") < names.index("blocks.0.attention.qkv") < names.index("blocks.1")
    # Words do not change with the sample or its time.
    assert not any(name.startswith("text_blocks") for name in names)
    assert all(0 <= row.tangent < 1 for row in report.layers)
    time = next(row for row in report.layers if row.layer == "time_in")
    assert time.tangent < 1e-5


def test_rounded_time_is_found_where_it_is(problem):
    net, *rest = problem
    for mode in ("fp32", "bf16 autocast"):
        found = check_tangent(RoundedTime(net), *rest, mode=mode).traps
        assert any(trap.startswith("rounded time") for trap in found)
        assert not any(
            trap.startswith("rounded time") for trap in check_tangent(net, *rest, mode=mode).traps
        )
    found = check_tangent(net, *rest, mode="bf16 weights").traps
    assert any(trap.startswith("rounded time") for trap in found)


def test_differences_in_low_precision_are_found(problem):
    for mode, drowned in (("fp32", set()), ("bf16 autocast", {"finite", "semi"})):
        traps = check_tangent(*problem, mode=mode).traps
        assert {
            name for name in ("finite", "semi") for trap in traps if f"method '{name}_" in trap
        } == drowned


def test_the_network_is_left_as_it_was(problem):
    net = problem[0]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    check_tangent(*problem, mode="bf16 weights")
    for name, tensor in net.state_dict().items():
        assert torch.equal(before[name], tensor)
    assert not any(module._forward_hooks for module in net.modules())
