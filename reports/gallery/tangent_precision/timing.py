"""Time a tangent's pass in several precisions on a GPU, and its error there over many t.

Run from the repository's root: ``python reports/gallery/tangent_precision/timing.py OUT``. Writes
OUT/time.csv, milliseconds of one tangent (F and cos t sin t dF/dt) and what they are of plain bf16,
and OUT/errors.csv, the table of ``make.py`` at 25 times on batches of 16.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import make
import torch
from torch import Tensor

from rcm_distill.denoiser import VelocityDenoiser
from rcm_distill.lab.pool import Pool
from rcm_distill.tangent import tangent
from rcm_distill.tangent_check import MODES, direction, in_mode

NUM_TIMES, BATCH, TIMED_BATCH, ROUNDS, CALLS = 25, 16, 256, 9, 20
PLAIN = "bf16 autocast"


def milliseconds(passes: dict[str, Callable[[], object]], device: str) -> dict[str, list[float]]:
    """Time passes in rounds, one after another in each, after two calls that compile."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for run in passes.values():
        for _ in range(2):
            run()
    found: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(ROUNDS):
        for name, run in passes.items():
            wait()
            begun = time.perf_counter()
            for _ in range(CALLS):
                run()
            wait()
            found[name].append((time.perf_counter() - begun) / CALLS * 1e3)
    return found


def passes_of(
    net: make.DiT, x_t: Tensor, times: Tensor, cond: Tensor, *, compiled: bool
) -> dict[str, Callable[[], object]]:
    """Return a tangent's pass of a float32 network in every precision that keeps its weights."""
    given = (x_t, times, *direction(x_t, x_t, times), cond)
    found: dict[str, Callable[[], object]] = {}
    for mode in MODES[:3]:
        one = partial(tangent, VelocityDenoiser(in_mode(net, mode)))
        fast = torch.compile(one, dynamic=False) if compiled else one
        found[mode] = torch.no_grad()(partial(fast, *given))
    return found


def rows_of(name: str, found: dict[str, list[float]]) -> list[tuple]:
    """Return network, precision, median milliseconds, and the median over rounds of the ratio."""
    plain = found[PLAIN]
    return [
        (
            name,
            precision,
            statistics.median(own),
            statistics.median(a / b for a, b in zip(own, plain, strict=True)),
        )
        for precision, own in found.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure errors and times, and write both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(make.SEED)
    x0, cond = (
        part.to(asked.device) for part in Pool(512, make.SEED).batch(TIMED_BATCH, generator)
    )
    eps = torch.randn(x0.shape, generator=generator).to(asked.device)
    errors, times = [], []
    for subject in make.subjects():
        subject.net.to(asked.device)
        if subject.teacher is not None:
            subject.teacher.to(asked.device)
        for t in [0.01 + (math.pi / 2 - 0.02) * k / (NUM_TIMES - 1) for k in range(NUM_TIMES)]:
            x_t = (math.cos(t) * x0 + math.sin(t) * eps)[:BATCH]
            at = torch.full((BATCH,), t, device=asked.device)
            found = make.errors(subject, x_t, at, cond[:BATCH])
            errors += [(subject.name, round(t, 5), *row) for row in found]
        x_t = math.cos(1.3) * x0 + math.sin(1.3) * eps
        at = torch.full((TIMED_BATCH,), 1.3, device=asked.device)
        passes = passes_of(subject.net, x_t, at, cond, compiled=asked.device == "cuda")
        own = rows_of(subject.name, milliseconds(passes, asked.device))
        print(*(f"{n}, {p}: {ms:.2f} ms, {ratio:.2f} of bf16" for n, p, ms, ratio in own), sep="\n")
        times += own
        make.write(asked.out / "errors.csv", make.ERRORS, errors)
        make.write(asked.out / "time.csv", ("network", "precision", "ms", "of_bf16"), times)


if __name__ == "__main__":
    main()
