"""Compile the shipped kernels for an H100 and print what they take; run by test_registers.py.

In a process of its own: where Triton interprets kernels it cannot compile them.
"""

import json
import sys
from dataclasses import replace

import torch

from rcm_kernels import launch
from rcm_kernels.configurations import TABLE, named, shipped
from rcm_kernels.resources import compiled
from rcm_kernels.tensors import Forward

HALF = torch.bfloat16


def tensors(head_size, number, dtype=HALF):
    """Inputs as a transformer lays them out; alignment and strides decide, values do not."""
    shape = (1, 256, 2, head_size)
    return tuple(torch.zeros(shape, dtype=dtype).transpose(1, 2) for _ in range(number))


def forward(head_size, *, moving=True, causal=False, dtype=HALF, products=None, **changed):
    configuration = replace(
        shipped("hopper", named("forward", moving=moving), dtype, head_size),
        gluon=False,
        **changed,
    )
    primals = tensors(head_size, 3, dtype)
    return lambda: launch.forward(
        primals, primals if moving else (None, None, None),
        scale=0.1, is_causal=causal, configuration=configuration, products=products,
    )  # fmt: skip


def backward(head_size, *, moving, dtype=HALF):
    out, weight = tensors(head_size, 2, dtype)
    side = torch.zeros(1, 2, 256)
    saved = Forward(out, out if moving else None, side, side if moving else None)
    names = {name for _, name, _ in TABLE if "gradients" in name}
    chosen = {name: shipped("hopper", name, dtype, head_size) for name in names}
    primals = tensors(head_size, 3, dtype)
    return lambda: launch.backward(
        primals, primals if moving else (None, None, None),
        saved, weight, weight if moving else None,
        scale=0.1, is_causal=False, configurations=chosen,
    )  # fmt: skip


def gluon(head_size, products=HALF):
    configuration = shipped("hopper", "forward+tangent", HALF, head_size)
    primals = tensors(head_size, 3)
    return lambda: launch.forward(
        primals, primals, scale=0.1, is_causal=False, configuration=configuration,
        products=products,
    )  # fmt: skip


WHAT = {
    "gluon 64": lambda: gluon(64)(),  # imported only where it is asked for
    "gluon 128": lambda: gluon(128)(),
    "gluon 64 float16 products": lambda: gluon(64, torch.float16)(),
    "gluon 128 float16 products": lambda: gluon(128, torch.float16)(),
    "forward 64": forward(64),
    "forward 128": forward(128),
    "forward 128 causal": forward(128, causal=True),
    "forward 64 float16 products": forward(64, products=torch.float16),
    "forward 128 float16 products": forward(128, products=torch.float16),
    "forward 128 causal float16 products": forward(128, causal=True, products=torch.float16),
    "forward 128 plain": forward(128, moving=False),
    "forward 128 plain too large": forward(
        128, moving=False, block_m=256, block_n=64, num_warps=4, num_stages=1, tma=False
    ),
    "forward 64 float32": forward(64, dtype=torch.float32),
    "backward 64 float32": backward(64, moving=True, dtype=torch.float32),
    "backward 128": backward(128, moving=True),
    "backward 128 plain": backward(128, moving=False),
}

if __name__ == "__main__":
    for name in sys.argv[1:]:
        for found in compiled(WHAT[name]):
            print(json.dumps({"what": name, **found._asdict()}), flush=True)
