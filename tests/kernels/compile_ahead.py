"""Compile two cases for an H100 that is not there; run by test_precompile.py.

In a process of its own: where Triton interprets kernels it cannot compile them.
"""

import torch

from rcm_kernels import choice, tuning
from rcm_kernels.cases import Case
from rcm_kernels.precompile import compile_cases

CASES = [
    Case(dtype=torch.bfloat16, S=130, T=127, D=64),
    Case(dtype=torch.bfloat16, S=17, T=17, D=32, causal=True, gradients=False),
]

if __name__ == "__main__":
    choice._why_not_here = lambda device: None
    tuning.gpu_class = lambda device: "hopper"
    for case in compile_cases(CASES, "cpu", capability=90):
        print(case.name, flush=True)
