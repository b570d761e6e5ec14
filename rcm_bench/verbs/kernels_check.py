"""kernels check: is every number of every attention path within its error budget?"""

import os
import sys
import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from secrets import randbits
from typing import TYPE_CHECKING, Any

from rcm_bench.errors import UserError
from rcm_bench.progress import progress

if TYPE_CHECKING:
    from rcm_kernels.check import CaseResult
    from rcm_kernels.choice import Impl

IMPLS: tuple["Impl", ...] = ("reference", "triton")
_INTERPRET = "TRITON_INTERPRET"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What a check found.

    Args:
        seed: Seed of the inputs; the same seed draws the same inputs.
        environment: Versions, device and commit.
        ran: What was run, and how.
        not_run: What could not be run here, and why.
        results: One entry for each case of each path.
        incomplete: Whether a path that belongs to a check is missing.
    """

    seed: int
    environment: dict[str, Any]
    ran: list[str]
    not_run: list[str]
    results: "list[CaseResult]" = field(repr=False)
    incomplete: bool

    @property
    def failed(self) -> "list[CaseResult]":
        """Return the cases that missed a budget or raised."""
        return [result for result in self.results if result.failed]

    @property
    def green(self) -> bool:
        """Say whether every case was run and is within its budgets."""
        return bool(self.results) and all(result.passed for result in self.results)


def kernels_check(
    json: str | Path | None = None,
    junit: str | Path | None = None,
    seed: int | None = None,
) -> Checked:
    """Hold every attention path to its error budget, on fresh random inputs.

    On a CPU the Triton path runs under the interpreter, on a GPU compiled.

    Args:
        json: File for all numbers.
        junit: File for JUnit XML.
        seed: Draw the inputs of an earlier check again.

    Raises:
        UserError: A file cannot be written, or this process has loaded the kernels for a GPU.
    """
    from rcm_bench.kernel_files import as_json, as_junit, write

    for path in (json, junit):
        if path is not None:
            write(Path(path), "")  # a path that cannot be written fails now, not after a minute
    checked = run_check(randbits(31) if seed is None else seed)
    if json is not None:
        write(Path(json), as_json(checked))
    if junit is not None:
        write(Path(junit), as_junit(checked))
    return checked


def run_check(seed: int) -> Checked:
    """Check every path that this machine can run."""
    device = choose_device()
    from rcm_bench.environment import environment, installed
    from rcm_kernels.choice import why_not_interpreted

    ran, not_run = [], []
    impls = [impl for impl in IMPLS if impl != "triton" or find_spec("triton")]
    if "triton" not in impls:
        not_run.append("triton: it is not installed, mend it with `pip install triton`")
    elif device == "cpu" and (fault := why_not_interpreted()):
        impls.remove("triton")
        not_run.append(f"triton: {fault}")
    if device == "cpu" and "triton" in impls:
        ran.append("triton, interpreted on the CPU")
        not_run.append("triton compiled: there is no GPU; checked by the same command on one")
        not_run.append("triton in bfloat16: Triton's interpreter multiplies it wrongly")
    with warnings.catch_warnings():
        # PyTorch warns of itself when torch.func is first used.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
        results = _results(impls, seed, device)
    found = environment(device) | {"triton": installed("triton")}
    return Checked(
        seed=seed,
        environment=found,
        ran=[f"reference on {found['device']}", *ran]
        + ([f"triton, compiled for {found['device']}"] if device == "cuda" else []),
        not_run=not_run,
        results=results,
        incomplete="triton" not in impls,
    )


def choose_device() -> str:
    """Return the device to check on; on a CPU, have Triton interpret its kernels.

    Raises:
        UserError: The kernels were loaded for a GPU before.
    """
    from rcm_bench.environment import pick_device

    if os.environ.get(_INTERPRET) == "1":
        return "cpu"
    device = pick_device()
    if device == "cpu":
        if any(name.startswith("rcm_kernels.triton") for name in sys.modules):
            raise UserError(
                "the Triton kernels were loaded for a GPU before this check asked to interpret "
                f"them: run it in a fresh process, or set {_INTERPRET}=1 before the first import"
            )
        os.environ[_INTERPRET] = "1"
    return device


def _results(impls: "list[Impl]", seed: int, device: str) -> "list[CaseResult]":
    from functools import partial

    import torch

    from rcm_kernels import attention, attention_with_tangent
    from rcm_kernels.case_table import cases_for
    from rcm_kernels.check import Candidate, check

    results = []
    tables = {impl: cases_for(device, impl) for impl in impls}
    if device == "cuda" and "triton" in impls:
        _compile_ahead(len(tables["triton"]))
    with progress("Checking", sum(map(len, tables.values())), "cases") as advance:
        for impl, cases in tables.items():
            functions = partial(attention, impl=impl), partial(attention_with_tangent, impl=impl)
            candidate = Candidate(impl, *functions, launches=impl == "triton")
            rng = torch.Generator().manual_seed(seed)
            for result in check(candidate, cases, rng, device):
                results.append(result)
                advance()
    return results


def _compile_ahead(number: int) -> None:
    from rcm_kernels.precompile import precompile

    with progress("Compiling", number, "cases") as advance:
        failed = precompile(number, advance)
    for words in failed:
        print(f"not compiled ahead, so the check does it: {words}", file=sys.stderr)
