"""Products in float16 against bfloat16 in the forward kernel with tangents: errors, and times.

    PYTHONPATH=.:kernels python3 reports/gallery/kernels__products/gpu.py OUT

On a Hopper GPU, about two minutes. Writes OUT/errors.csv, the bf16 tangent's excess over rounding
of the check's large cases, and OUT/times.csv, milliseconds of five rounds in turn and the share of
them that scaling the values takes.
"""

import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from triton.testing import do_bench

from rcm_kernels import api, check, choice, launch
from rcm_kernels.case_table import cases_for
from rcm_kernels.launch_scaling import scaled

LOW, HALF = torch.bfloat16, torch.float16
SHAPES = (
    (1, 12, 8192, 8192, 128),
    (1, 12, 32760, 32760, 128),
    (4, 32, 4096, 4096, 64),
    (1, 12, 32760, 512, 128),
)
LARGE = 2**17  # weights; with fewer some roundings decide the excess
ROUNDS = 5


def errors() -> Iterator[tuple[object, ...]]:
    """Yield products, case, and the excess over rounding of its tangent."""
    candidate = check.Candidate(
        "triton",
        partial(api.attention, impl="triton"),
        partial(api.attention_with_tangent, impl="triton"),
    )
    cases = [
        replace(case, gradients=False)
        for case in cases_for("cuda", "triton")
        if case.dtype == LOW and case.entry == "explicit" and case.S * case.T > LARGE
    ]
    choice._FEWEST_KEYS, choice._HEAD_SIZES = 512, range(257)  # all sizes, which set the limits
    for name, kinds in (("bfloat16", ()), ("float16", ("hopper",))):
        choice.FLOAT16_PRODUCTS = frozenset(kinds)
        rng = torch.Generator().manual_seed(torch.seed() % 2**31)
        for found in check.check(candidate, cases, rng, "cuda"):
            excess = [row.error for row in found.rows if "excess" in row.norm]
            yield name, found.case, *(excess or [found.raised])


def times(shape: tuple[int, int, int, int, int]) -> Iterator[tuple[object, ...]]:
    """Yield shape, what is timed, median, least and most milliseconds, and TFLOP/s."""
    batch, heads, queries, keys, size = shape
    drawn = [
        torch.randn(batch, length, heads, size, device="cuda", dtype=LOW).transpose(1, 2)
        for length in (queries, keys, keys) * 2
    ]
    primals, tangents, scale = tuple(drawn[:3]), tuple(drawn[3:]), size**-0.5
    given: dict[str, Any] = {"scale": scale, "is_causal": False}
    runs: dict[str, Callable[[], object]] = {
        "bfloat16": partial(launch.forward, primals, tangents, products=LOW, **given),
        "float16": partial(launch.forward, primals, tangents, products=HALF, **given),
        "scaling alone": partial(scaled, primals, tangents, scale, None),
    }
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            took[name].append(do_bench(run, warmup=20, rep=120, return_mode="median"))
    for name, each in took.items():
        rate = 12e-9 * batch * heads * queries * keys * size / median(each)
        yield shape, name, median(each), min(each), max(each), rate


def main(out: Path) -> None:
    """Measure, and write both tables as they come."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "errors.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("products", "case", "excess"))
        for row in errors():
            print(*row, flush=True)
            table.writerow(row)
    with (out / "times.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("shape", "products", "median_ms", "least_ms", "most_ms", "tflops"))
        for shape in SHAPES:
            for row in times(shape):
                print(*row, flush=True)
                table.writerow(row)
                file.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
