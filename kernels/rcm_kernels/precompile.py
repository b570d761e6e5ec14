"""Compile ahead, in several processes, what a check will launch: one alone takes minutes for it.

Each process asks for its share of the cases as the check does, but only compiles; Triton keeps the
kernels in its cache, where the check finds them.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TextIO

import torch

from rcm_kernels import api
from rcm_kernels.case_table import cases_for
from rcm_kernels.cases import Case, draw
from rcm_kernels.check import Candidate, candidate_results
from rcm_kernels.resources import only_compiling

_MOST_PROCESSES = 16  # each holds some hundred megabytes of the GPU


def shares(device: str, number: int) -> list[list[Case]]:
    """Deal the Triton cases out so that every process gets as many slow ones as any other."""
    # Exact float32 products and large heads take longest.
    slowest_first = sorted(
        cases_for(device, "triton"), key=lambda case: (case.dtype.itemsize, case.D), reverse=True
    )
    return [slowest_first[i::number] for i in range(number)]


def compile_cases(
    cases: list[Case], device: str, *, capability: int | None = None
) -> Iterator[Case]:
    """Compile every kernel that the cases launch, and yield each case that is done.

    Args:
        cases: What will be checked.
        device: Where the inputs are drawn.
        capability: As in ``resources.only_compiling``.
    """
    candidate = Candidate(
        "triton",
        partial(api.attention, impl="triton"),
        partial(api.attention_with_tangent, impl="triton"),
    )
    rng = torch.Generator().manual_seed(0)
    for case in cases:
        inputs = draw(case, rng, device)
        with only_compiling(capability):
            candidate_results(candidate, case, inputs)
        yield case


def precompile(number_of_cases: int, advance: Callable[[], object]) -> list[str]:
    """Compile the GPU's cases in as many processes as there are processors.

    Args:
        number_of_cases: How many there are to deal out.
        advance: Called after each case.

    Returns:
        The last words of each process that failed; what it did not compile, the check will.
    """
    number = max(1, min(os.cpu_count() or 1, _MOST_PROCESSES, number_of_cases))
    with ExitStack() as stack:
        words = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(number)]
        codes = _run([str(number)], words, advance)
        return [_last_line(file) for code, file in zip(codes, words, strict=True) if code]


def _run(arguments: list[str], words: Sequence[TextIO], advance: Callable[[], object]) -> list[int]:
    """Run a process for each share, count the lines of all, and return how they ended."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "rcm_kernels.precompile"]
    workers: list[subprocess.Popen[bytes]] = []
    try:
        with open(read, encoding="utf-8") as done:  # ends when the last process does
            with open(write, "wb") as said:
                for share, file in enumerate(words):
                    own = [*command, str(share), *arguments]
                    workers.append(subprocess.Popen(own, stdout=said, stderr=file))
            for _ in done:
                advance()
        return [worker.wait() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _last_line(file: TextIO) -> str:
    file.seek(0)
    return (file.read().strip().splitlines() or ["it said nothing"])[-1]


if __name__ == "__main__":
    mine, all_of_them = (int(argument) for argument in sys.argv[1:])
    for case in compile_cases(shares("cuda", all_of_them)[mine], "cuda"):
        print(case.name, flush=True)
