"""What the kernels verbs print on standard output."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rcm_bench.console import cell, console
from rcm_bench.exit_codes import DONE, FAILED, INCOMPLETE
from rcm_bench.kernel_files import figures
from rcm_reports.formatting import visible

if TYPE_CHECKING:
    from rcm_bench.verbs.kernels_bench import Benched
    from rcm_bench.verbs.kernels_check import Checked
    from rcm_kernels.check import CaseResult


def print_checked(checked: "Checked") -> int:
    """Print every case with its worst error beside the budget, what failed, what is lacking.

    Returns:
        0 if everything is within its budget, 1 on a miss, 4 if a path or a case could not be run.
    """
    out = console()
    out.print(_table(checked))
    for result in checked.failed:
        out.print(cell(f"FAILED {result.candidate}: {result.case}"))
        missed = [figures(row) for row in result.rows if not row.passed]
        for line in [visible(result.raised)] if result.raised else missed:
            out.print(cell(f"  {line}"))
    for what in checked.ran:
        out.print(cell(f"Ran: {what}"))
    for what in checked.not_run:
        out.print(cell(f"Not run: {what}"))
    return _verdict(checked, out)


def _table(checked: "Checked") -> Table:
    table = Table(
        title="The number of each case that is nearest to its budget", title_justify="left"
    )
    for name in ("path", "case", "number", "norm"):
        table.add_column(name)
    for name in ("error", "budget", ""):
        table.add_column(name, justify="right")
    for result in checked.results:
        table.add_row(cell(result.candidate), cell(result.case), *_worst(result))
    return table


def _worst(result: "CaseResult") -> tuple[str, ...]:
    if result.not_run is not None:
        return result.not_run, "", "", "", "not run"
    worst = result.worst
    if result.raised is not None or worst is None:
        return "raised", "", "", "", "FAILED"
    verdict = "ok" if result.passed else "FAILED"
    return worst.quantity, worst.norm, f"{worst.error:.2e}", f"{worst.budget:.2e}", verdict


def _verdict(checked: "Checked", out: Console) -> int:
    numbers = sum(len(result.rows) for result in checked.results)
    ran = sum(result.not_run is None for result in checked.results)
    seed = f"inputs of seed {checked.seed}, drawn again by --seed {checked.seed}"
    if checked.failed:
        out.print(f"{len(checked.failed)} of {ran} cases FAILED; {seed}")
        return FAILED
    out.print(f"{ran} cases, {numbers:,} numbers within their budgets; {seed}")
    left = len(checked.results) - ran
    if left or checked.incomplete:
        out.print(f"Not complete: {left} cases were not run" if left else "Not complete")
        return INCOMPLETE
    return DONE


def print_benched(benched: "Benched") -> int:
    """Print the speeds, or, where the check is not green, what it found and no speed.

    Returns:
        0, or 1 if the check is not green or something is slower than before.
    """
    out = console()
    if benched.out is None:
        print_checked(benched.checked)
        out.print("Nothing was timed: a speed needs a green check in the same run")
        return FAILED
    out.print(_speeds(benched))
    for line in benched.not_measured:
        out.print(cell(visible(f"Not measured: {line}")))
    for line in benched.checked.not_run:
        out.print(cell(f"Not checked: {line}"))
    for line in benched.slower:
        out.print(cell(f"SLOWER: {line}"))
    out.print(cell(f"Rows, check and plot: {benched.out}"))
    return FAILED if benched.slower else DONE


def _speeds(benched: "Benched") -> Table:
    gpu = benched.rows[0]["gpu"] if benched.rows else "nothing"
    table = Table(title=cell(f"Measured side by side on {gpu}"), title_justify="left")
    for name in ("case", "dtype", "what", "implementation"):
        table.add_column(name)
    for name in ("ms", "20th to 80th percentile", "TFLOP/s", "peak MB"):
        table.add_column(name, justify="right")
    for row in benched.rows:
        peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e6:.0f}"
        table.add_row(
            " ".join(f"{name}{size}" for name, size in row["shape"].items()),
            *(cell(row[name]) for name in ("dtype", "mode", "impl")),
            f"{row['p50_ms']:.4g}",
            f"{row['p20_ms']:.4g} to {row['p80_ms']:.4g}",
            f"{row['tflops']:.3g}",
            peak,
        )
    return table
