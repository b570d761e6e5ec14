"""Compile the shipped kernels for an H100 and print what they take; run by test_registers.py.

In a process of its own: where Triton interprets kernels it cannot compile them.
"""

import json
import sys
from dataclasses import replace

import torch

from rcm_kernels import launch
from rcm_kernels.configurations import shipped
from rcm_kernels.resources import compiled

HALF = torch.bfloat16


def tensors(head_size, number, length=256):
    """Inputs as a transformer lays them out; alignment and strides decide, values do not."""
    shape = (1, length, 2, head_size)
    return tuple(torch.zeros(shape, dtype=HALF).transpose(1, 2) for _ in range(number))


def forward(head_size, *, moving=True, causal=False, **changed):
    configuration = replace(shipped("hopper", "forward", HALF, head_size), **changed)
    tangents = tensors(head_size, 3) if moving else (None, None, None)
    return lambda: launch.forward(
        tensors(head_size, 3), tangents, scale=0.1, is_causal=causal, configuration=configuration
    )


def backward(head_size, *, moving):
    out, weight = tensors(head_size, 2)
    side = torch.zeros(1, 2, 256)
    saved = launch.Forward(out, out if moving else None, side, side if moving else None)
    names = ("query_gradients", "key_gradients")
    chosen = {name: shipped("hopper", name, HALF, head_size) for name in names}
    tangents = tensors(head_size, 3) if moving else (None, None, None)
    return lambda: launch.backward(
        tensors(head_size, 3), tangents, saved, weight, weight if moving else None,
        scale=0.1, is_causal=False, configurations=chosen,
    )  # fmt: skip


WHAT = {
    "forward 64": forward(64),
    "forward 128": forward(128),
    "forward 128 causal": forward(128, causal=True),
    "forward 128 plain": forward(128, moving=False),
    "forward 128 plain too large": forward(
        128, moving=False, block_m=256, block_n=64, num_warps=4, num_stages=1, tma=False
    ),
    "backward 128": backward(128, moving=True),
    "backward 128 plain": backward(128, moving=False),
}

if __name__ == "__main__":
    for name in sys.argv[1:]:
        for found in compiled(WHAT[name]):
            print(json.dumps({"what": name, **found._asdict()}), flush=True)
