"""Run an attention on the cases and hold every number to its budget.

Unwritten memory is NaN while a candidate runs, so that an output that was never written is seen.
"""

import inspect
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.autograd import forward_ad

from rcm_kernels.budget import Comparison, compare, excess_over_rounding
from rcm_kernels.cases import Case, Inputs, draw
from rcm_kernels.choice import products
from rcm_kernels.golden import Results, named, plain_results, with_gradients
from rcm_kernels.launches import counted_launches
from rcm_kernels.transforms import pack, unpack

# Beyond rounding the exact answer to bf16, relative. Rounding p and h once each to bf16 costs
# 2^-8 / sqrt(3) * sqrt(0.541) = 1.66e-3 (mantissas spread evenly in their logarithm), and no
# order of six bf16 products avoids it; the rest is room for what does not average out. In float16
# they cost an eighth: there it is what was asked for.
MOST_EXCESS = 2.1e-3
MOST_EXCESS_FLOAT16 = 1.2e-3
# Plain PyTorch's largest error hangs on one element: in 30 orders of one draw of 65 sharp rows it
# was 3.3e-7 to 8.9e-7 in float32, and two orders that both were lucky failed a kernel with 9.8e-7.
_ORDERS = 8
_ENOUGH = 2**17  # weights: with fewer, the roundings of a few of them decide


class Candidate(NamedTuple):
    """What is checked: a name and the two functions of the public interface.

    ``launches`` says whether it must launch Triton kernels (True), must not (False) or may (None):
    numbers of one path must never stand under the name of another.
    """

    name: str
    attention: Callable[..., Tensor]
    attention_with_tangent: Callable[..., tuple[Tensor, Tensor]]
    launches: bool | None = None


class Row(NamedTuple):
    """One quantity of a case: its error beside the budget."""

    quantity: str
    norm: str
    error: float
    budget: float

    @property
    def passed(self) -> bool:
        """Say whether the error is within the budget."""
        return self.error <= self.budget


class CaseResult(NamedTuple):
    """What one case gave.

    Attributes:
        candidate: Name of what was checked.
        case: Name of the case.
        rows: Errors and budgets; empty where the candidate raised or cannot run the case.
        raised: What the candidate raised, if it did.
        not_run: Why the case was not run, if it was not.
        seconds: Time of the candidate alone.
    """

    candidate: str
    case: str
    rows: list[Row]
    raised: str | None = None
    not_run: str | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Say whether everything is within its budget; a case that was not run has not passed."""
        return self.raised is None and bool(self.rows) and all(row.passed for row in self.rows)

    @property
    def failed(self) -> bool:
        """Say whether the case was run and missed its budget."""
        return self.not_run is None and not self.passed

    @property
    def worst(self) -> Row | None:
        """Return the row that is nearest to its budget, or furthest beyond."""
        return max(self.rows, key=lambda row: _share(row), default=None)


def _share(row: Row) -> float:
    if row.budget > 0:
        return row.error / row.budget
    return 0.0 if row.error == 0 else float("inf")


def check(
    candidate: Candidate, cases: list[Case], rng: Generator, device: str
) -> Iterator[CaseResult]:
    """Run the cases one by one.

    Args:
        candidate: What is checked.
        cases: On what.
        rng: A CPU generator; the inputs are fresh unless its seed is an old one.
        device: ``"cpu"`` or ``"cuda"``.

    Yields:
        The result of each case, in order.
    """
    for case in cases:
        inputs = draw(case, rng, device)
        lacking = _lacking(candidate, case)
        if lacking:
            yield CaseResult(candidate.name, case.name, [], not_run=lacking)
            continue
        yield _run(candidate, case, inputs)


def _run(candidate: Candidate, case: Case, inputs: Inputs) -> CaseResult:
    start = time.perf_counter()
    try:
        with poisoned_memory(), counted_launches() as launched:
            got = candidate_results(candidate, case, inputs)
        if candidate.launches is not None and candidate.launches != bool(launched):
            done = f"launched {launched[0]}" if launched else "launched no Triton kernel"
            raise RuntimeError(f"{done}: another path ran in its place")
        seconds = time.perf_counter() - start
        for name, value in got.items():
            if value.dtype != case.dtype:
                raise TypeError(f"{name} must be {case.dtype}, got {value.dtype}")
    except Exception as fault:  # whatever it raises is what the check has found
        raised = f"{type(fault).__name__}: {fault}"
        return CaseResult(candidate.name, case.name, [], raised=raised)
    return CaseResult(candidate.name, case.name, rows_of(case, inputs, got), seconds=seconds)


def rows_of(case: Case, inputs: Inputs, got: Results) -> list[Row]:
    """Compare what a candidate returned with the truth."""
    truth = plain_results(case, inputs, torch.float64)
    plain = [plain_results(case, inputs, case.dtype, order=i) for i in range(_ORDERS)]
    rows = []
    for name, value in got.items():
        found: list[Comparison] = compare(value, [p[name] for p in plain], truth[name])
        rows += [Row(name, *comparison) for comparison in found]
    if case.dtype == torch.bfloat16 and case.entry == "explicit" and case.S * case.T > _ENOUGH:
        excess = excess_over_rounding(got["tangent"], truth["tangent"])
        query, key, _ = inputs.primals
        wide = products(query, key, moving=True) == torch.float16
        most = MOST_EXCESS_FLOAT16 if wide else MOST_EXCESS
        rows.append(Row("tangent", "excess over rounding", excess, most))
    return rows


def candidate_results(candidate: Candidate, case: Case, inputs: Inputs) -> Results:
    """Return output, tangent and gradients as the candidate computes them."""
    wanted = case.gradients
    primals = [x.detach().requires_grad_(wanted) for x in inputs.primals]
    tangents: list[Tensor | None] = [
        x.detach().requires_grad_(wanted) if name in case.tangents else None
        for name, x in zip("qkv", inputs.tangents, strict=True)
    ]
    options = _options(case, inputs)
    if case.entry == "plain":
        results, tangents = {"output": candidate.attention(*primals, **options)}, []
    else:
        ask = _explicit if case.entry == "explicit" else _forward_mode
        output, tangent = ask(candidate, case, primals, tangents, options)
        results = {"output": output, "tangent": tangent}
    if not wanted:
        return results
    return with_gradients(results, named(primals, tangents), list(inputs.cotangents))


def _explicit(
    candidate: Candidate,
    case: Case,
    primals: list[Tensor],
    tangents: list[Tensor | None],
    options: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    output, tangent = candidate.attention_with_tangent(*primals, *tangents, **options)
    return output, tangent


def _forward_mode(
    candidate: Candidate,
    case: Case,
    primals: list[Tensor],
    tangents: list[Tensor | None],
    options: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """Ask ``attention`` for a tangent, with tangents on some of the inputs only."""
    moving = [index for index, tangent in enumerate(tangents) if tangent is not None]

    def attend(*moved: Tensor) -> Tensor:
        whole = list(primals)
        for index, value in zip(moving, moved, strict=True):
            whole[index] = value
        return candidate.attention(*whole, **options)

    starts = tuple(primals[i] for i in moving)
    directions = tuple(tangent for tangent in tangents if tangent is not None)
    if case.entry == "func.jvp":
        pair = torch.func.jvp(attend, starts, directions)
        return pair[0], pair[1]
    with forward_ad.dual_level():
        duals = [pack(*pair) for pair in zip(starts, directions, strict=True)]
        output, tangent = unpack(attend(*duals))
    if tangent is None:
        raise RuntimeError("the tangent was lost: the output has none")
    return output, tangent


def _options(case: Case, inputs: Inputs) -> dict[str, Any]:
    found: dict[str, Any] = {
        "scale": case.scale,
        "is_causal": case.causal or None,
        "enable_gqa": True if case.G else None,
        "attn_mask": inputs.attn_mask,
        "key_lengths": inputs.key_lengths,
    }
    return {name: value for name, value in found.items() if value is not None}


def _lacking(candidate: Candidate, case: Case) -> str | None:
    """Say which argument the candidate would need for the case, if it takes no such argument."""
    function = candidate.attention_with_tangent if case.entry == "explicit" else candidate.attention
    needed = {"enable_gqa": bool(case.G), "key_lengths": case.mask == "lengths"}
    needed["attn_mask"] = case.mask in ("boolean", "additive")
    known = inspect.signature(function).parameters
    lacking = [name for name, is_needed in needed.items() if is_needed and name not in known]
    return f"takes no {' and no '.join(lacking)}" if lacking else None


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill memory with NaN wherever PyTorch hands it out unwritten."""
    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings():
        # Operations without a deterministic version warn of it; only the filling is wanted here.
        warnings.filterwarnings("ignore", message=".*deterministic.*")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=only_warned)
