"""Time attention implementations side by side: interleaved rounds, nothing from another run.

Shape legend: B batch, H heads, S queries, T keys, D head size.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

Mode = Literal["forward", "forward+tangent", "backward", "backward+tangent"]
Run = Callable[[], object]
# What is counted, whatever is executed: a matrix product is 2 B H S T D operations.
MATMULS: dict[Mode, int] = {
    "forward": 2,
    "forward+tangent": 6,
    "backward": 5,
    "backward+tangent": 15,
}
WARM_UPS = 3
ROUNDS = 10
SECONDS_EACH = 1.0  # for one implementation on one case, more only where a call takes longer
MOST_CALLS = 50  # of one round


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchCase:
    """One line of the table: a shape and what is asked for."""

    B: int
    H: int
    S: int
    T: int
    D: int
    mode: Mode
    dtype: torch.dtype = torch.bfloat16

    @property
    def flops(self) -> int:
        """Return the operations that are counted: 12 B H S T D for output and tangent."""
        return MATMULS[self.mode] * 2 * self.B * self.H * self.S * self.T * self.D


@dataclass(frozen=True, slots=True)
class BenchInputs:
    """Primals, tangents and cotangents, (B, H, S or T, D) each."""

    primals: tuple[Tensor, Tensor, Tensor]
    tangents: tuple[Tensor, Tensor, Tensor]
    cotangents: tuple[Tensor, Tensor]


# Builds what is timed; raises UnavailableError, with a reason, where it cannot.
Contender = Callable[[BenchCase, BenchInputs], Run]


class UnavailableError(Exception):
    """An implementation cannot run a case here; the message says why."""


class Timing(NamedTuple):
    """What was measured of one implementation on one case, or why nothing was.

    ``milliseconds`` has one number for each round: the mean over calls launched one after another,
    so that the host's work overlaps the GPU's, as it does in a model.
    """

    impl: str
    case: BenchCase
    milliseconds: list[float]
    peak_bytes: int | None = None
    not_measured: str | None = None


def draw_inputs(case: BenchCase, device: str, rng: Generator) -> BenchInputs:
    """Draw normal inputs, laid out (B, S, H, D) as a transformer has them."""

    def normal(length: int) -> Tensor:
        shape = (case.B, length, case.H, case.D)
        return torch.randn(shape, generator=rng, device=device, dtype=case.dtype).transpose(1, 2)

    S, T = case.S, case.T
    return BenchInputs(
        (normal(S), normal(T), normal(T)),
        (normal(S), normal(T), normal(T)),
        (normal(S), normal(S)),
    )


def bench(
    cases: list[BenchCase], contenders: dict[str, Contender], device: str, rng: Generator
) -> Iterator[Timing]:
    """Time every implementation on every case.

    Rounds are interleaved: each goes once through all implementations, so that a slow or hot
    moment of the machine falls on all of them alike.

    Args:
        cases: What is timed.
        contenders: Implementations by name; each says itself what it cannot run.
        device: ``"cpu"`` or ``"cuda"``.
        rng: A generator on that device.

    Yields:
        One timing for each implementation of each case.
    """
    for case in cases:
        inputs = draw_inputs(case, device, rng)
        runs: dict[str, Run] = {}
        peaks: dict[str, int | None] = {}
        for impl, build in contenders.items():
            try:
                runs[impl], peaks[impl] = _prepare(build, case, inputs, device)
            except UnavailableError as fault:
                yield Timing(impl, case, [], not_measured=str(fault))
            except torch.OutOfMemoryError:
                yield Timing(impl, case, [], not_measured="out of memory")
        found = _interleaved(runs, device)
        for impl, milliseconds in found.items():
            yield Timing(impl, case, milliseconds, peaks[impl])


def _prepare(
    build: Contender, case: BenchCase, inputs: BenchInputs, device: str
) -> tuple[Run, int | None]:
    """Build and warm up; return the peak of memory beyond the inputs, on a GPU."""
    run = build(case, inputs)
    before = 0
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM_UPS):
        run()
    if device != "cuda":
        return run, None
    torch.cuda.synchronize()
    return run, torch.cuda.max_memory_allocated() - before


def _interleaved(runs: dict[str, Run], device: str) -> dict[str, list[float]]:
    clock = _on_gpu if device == "cuda" else _on_cpu
    per_round = SECONDS_EACH * 1e3 / ROUNDS
    calls = {
        impl: min(max(int(per_round / max(clock(run, 1), 1e-3)), 1), MOST_CALLS)
        for impl, run in runs.items()
    }
    found: dict[str, list[float]] = {impl: [] for impl in runs}
    for _turn in range(ROUNDS):
        for impl, run in runs.items():
            found[impl].append(clock(run, calls[impl]))
    return found


def _on_gpu(run: Run, calls: int) -> float:
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    stop = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(calls):
        run()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / calls


def _on_cpu(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) * 1e3 / calls


def bench_cases(device: str) -> list[BenchCase]:
    """Return the table of the cases: on a CPU one small shape, to see that the bench works."""
    if device == "cpu":
        return [
            BenchCase(B=1, H=2, S=64, T=64, D=32, mode=mode, dtype=torch.float32)
            for mode in MATMULS
        ]
    modes: tuple[Mode, ...] = ("forward", "forward+tangent")
    shapes = [
        (1, 12, 8192, 8192, 128),
        (1, 12, 32760, 32760, 128),  # Wan 1.3B, 832 x 480 x 81
        (1, 40, 32760, 32760, 128),  # Wan 14B
        (4, 32, 4096, 4096, 64),
        (1, 12, 32760, 512, 128),  # cross-attention to the text
    ]
    found = [
        BenchCase(B=B, H=H, S=S, T=T, D=D, mode=mode) for B, H, S, T, D in shapes for mode in modes
    ]
    backwards: tuple[Mode, ...] = ("backward", "backward+tangent")
    return found + [
        BenchCase(B=B, H=H, S=S, T=S, D=D, mode=mode)
        for B, H, S, D in ((1, 12, 8192, 128), (4, 32, 4096, 64))
        for mode in backwards
    ]
