"""A suite and prompts for the fake model and benchmark of ``plugins``."""

import signal

SUITE = """\
suite: tiny
models:
  teacher: {kind: fake, role: teacher, sampler: flow, steps: [1, 4]}
  student: {kind: fake, sampler: few, level: 0.9}
samplers:
  flow: {kind: euler}
  few: {kind: consistency}
steps: [1, 2]
prompts: {file: prompts.txt, samples_per_prompt: 3}
benchmarks: {brightness: {}}
run: {batch_size: 8}
"""
PROMPTS = "".join(f"prompt number {i}\n" for i in range(6))
ENOUGH = "".join(f"prompt number {i}\n" for i in range(24))
"""Prompts for which there are intervals."""


def interruptible():
    """Hear SIGINT in a child (``preexec_fn``): a shell's background job would inherit deafness."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
