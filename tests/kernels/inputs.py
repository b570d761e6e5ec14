"""Inputs of attention for tests of the reference path."""

import torch


def draw(rng, *, heads=4, groups=4, s=9, t=13, d=16, requires_grad=False):
    """Return (q, k, v) in fp64, (2, heads or groups, s or t, d), with another value size."""
    shapes = ((2, heads, s, d), (2, groups, t, d), (2, groups, t, d + 2))
    return [
        torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_(requires_grad)
        for shape in shapes
    ]
