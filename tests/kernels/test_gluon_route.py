"""Which calls the Gluon kernel gets; what it computes only a GPU can tell (``kernels check``)."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("triton.experimental.gluon", reason="this Triton has no Gluon")

from rcm_kernels import gluon_launch, launch
from rcm_kernels.configurations import shipped

CHOSEN = replace(shipped("interpreter", "forward+tangent", torch.float16, 64), gluon=True)


def inputs(head_size=64, dtype=torch.float16, offset=0):
    room = torch.zeros(1, 2, 8, head_size + 8, dtype=dtype)
    return (room[..., offset : offset + head_size],) * 3


@pytest.fixture
def taken(monkeypatch):
    """Say which kernel a call would run."""

    def call(primals, tangents, **options):
        monkeypatch.setattr(gluon_launch, "forward", lambda *_, **__: "gluon")
        kernel = type("Kernel", (), {"__getitem__": lambda *_: lambda *_, **__: None})()
        monkeypatch.setattr(launch.triton_forward, "attention_forward", kernel)
        how = {"scale": 0.1, "is_causal": False, "configuration": CHOSEN, **options}
        return "gluon" if launch.forward(primals, tangents, **how) == "gluon" else "triton"

    return call


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("head_size", [64, 128])
def test_what_it_serves(taken, head_size, dtype):
    x = inputs(head_size, dtype)
    assert taken(x, x) == "gluon"


def test_what_it_does_not(taken):
    x = inputs()
    assert taken(x, x, is_causal=True) == "triton"
    assert taken(x, x, key_lengths=torch.tensor([3])) == "triton"
    assert taken(x, x, configuration=replace(CHOSEN, gluon=False)) == "triton"
    assert taken(x, (*x[:2], None)) == "triton"
    odd = inputs(head_size=96)
    assert taken(odd, odd) == "triton"
    unaligned = inputs(offset=1)
    assert taken(unaligned, unaligned) == "triton"


@pytest.mark.parametrize("head_size", [64, 128])
def test_an_h100_takes_it(head_size):
    assert shipped("hopper", "forward+tangent", torch.bfloat16, head_size).gluon
    assert not shipped("ampere", "forward+tangent", torch.bfloat16, head_size).gluon
