"""What the verbs print on standard output."""

import math
import sys
from typing import TYPE_CHECKING, Any

from rich.table import Table

from rcm_bench.console import cell as _cell
from rcm_bench.console import console as _console
from rcm_bench.console import number as _number
from rcm_bench.exit_codes import DONE, FAILED, INCOMPLETE

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.finish import Outcome
    from rcm_bench.verbs.doctor import Check
    from rcm_bench.verbs.plan import PlanSummary
    from rcm_bench.verbs.status import RunStatus


def print_outcome(outcome: "Outcome") -> int:
    """Print the table of models by steps, remarks, and the path of the report last."""
    console = _console()
    console.print(outcome_table(outcome))
    for remark in outcome.remarks:
        console.print(_cell(f"Note: {remark}."))
    sys.stdout.write(f"{outcome.report}\n")
    return DONE if outcome.done else INCOMPLETE


def outcome_table(outcome: "Outcome") -> Table:
    """Return headline metrics by model and steps, each with its interval."""
    import pandas as pd

    shown = [n for n, info in outcome.metrics.items() if info["headline"] or n == "latency.nfe"]
    rows = pd.concat([outcome.measurements, outcome.timings])
    rows = rows.assign(name=rows["benchmark"] + "." + rows["metric"])
    table = Table(title="Headline metrics with 95 % intervals", title_justify="left")
    table.add_column("model")
    table.add_column("steps", justify="right")
    for name in shown:
        info = outcome.metrics[name]
        # "Network evaluations (evaluations)" says nothing twice.
        unit = "" if info["unit"] in info["title"].lower() else f" ({info['unit']})"
        table.add_column(_cell(info["title"] + unit), justify="right")
    values = {
        (row["model"], row["steps"], row["name"]): _interval(row) for _, row in rows.iterrows()
    }
    for model, steps in outcome.cells:
        found = (_cell(values.get((model, steps, name), "-")) for name in shown)
        table.add_row(_cell(model), str(steps), *found)
    return table


def _interval(row: "pd.Series[Any]") -> str:
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    if math.isnan(value):
        return "no total" if str(row["method"]).startswith("no total") else "-"
    if low == high == value:
        return _number(value)
    if math.isnan(low) or math.isnan(high):
        return f"{_number(value)} [no interval]"
    # No space within: a narrow terminal then folds between value and interval.
    return f"{_number(value)} [{_number(low)},{_number(high)}]"


def print_plan(plan: "PlanSummary") -> int:
    """Print what a run would do and cost."""
    console = _console()
    table = Table(title=_cell(f"Plan of {plan.suite}"), title_justify="left")
    for name in ("model", "sampler", "steps", "samples", "evaluations", "about seconds"):
        table.add_column(name, justify="left" if name in ("model", "sampler") else "right")
    for cell in plan.cells:
        table.add_row(
            *(_cell(cell.model), _cell(cell.sampler), str(cell.steps)),
            *(f"{cell.samples:,}", f"{cell.evaluations:,}", f"{cell.seconds:.0f}"),
        )
    console.print(table)
    counts = plan.counts
    seconds = sum(cell.seconds for cell in plan.cells)
    console.print(
        f"{counts['num_prompts']:,} prompts x {counts['samples_per_prompt']} seeds; "
        f"{counts['num_items']:,} samples in {counts['num_batches']:,} batches; "
        f"{counts['num_evaluations']:,} network evaluations"
    )
    if plan.brought:
        console.print(f"{plan.brought:,} samples were made elsewhere and are taken as they are")
    about = f"About {_duration(seconds)} of sampling {plan.machine} and"
    console.print(
        f"{'About' if plan.brought == counts['num_items'] else about} {plan.megabytes:.0f} MB"
        + ("" if plan.fetched else "; nothing is downloaded")
    )
    for text in plan.fetched:
        console.print(_cell(f"Downloaded by a run, unless the hub's cache has it: {text}"))
    console.print(_cell(f"Benchmarks: {', '.join(plan.benchmarks)}"))
    for text in (line for fault in plan.missing for line in fault.splitlines()):
        console.print(_cell(f"Missing: {text}"), soft_wrap=True)
    ready = "A run cannot start yet." if plan.missing else "Everything needed is there."
    console.print(_cell(f"{ready} Run folder: {plan.out}"))
    if plan.present:
        console.print(f"{plan.present:,} of its samples are there already")
    return DONE


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def print_status(status: "RunStatus") -> int:
    """Print how far a run is."""
    console = _console()
    table = Table(title=_cell(f"Status of {status.run_dir}"), title_justify="left")
    for name in ("model", "steps", "sampled", "failed", "to do"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for cell in status.cells:
        rest = cell.planned - cell.sampled - cell.failed
        table.add_row(
            *(_cell(cell.model), str(cell.steps), f"{cell.sampled}/{cell.planned}"),
            *(str(cell.failed), str(rest)),
        )
    console.print(table)
    if status.unscored:
        console.print(f"{status.unscored} samples are not scored")
    if not status.timed:
        console.print("Times are not measured yet")
    for what, message, times in status.failures:
        console.print(_cell(f"{times} x {what}: {message}"))
    for fault in status.faults:
        console.print(_cell(fault))
    console.print(_pace(status))
    return DONE if status.whole else INCOMPLETE


def _pace(status: "RunStatus") -> str:
    if status.whole:
        return "Complete"
    if not status.running:
        return "Not complete, and nobody works on it: run the suite again to go on"
    if status.to_do and status.rate and status.seconds_left is not None:
        left = _duration(status.seconds_left)
        return f"Running: {status.rate:.1f} samples/s, about {left} of sampling left"
    return f"Running: {status.stage}"


def print_checks(checks: "list[Check]") -> int:
    """Print what works and what is missing."""
    console = _console()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for check in checks:
        state = "ok" if check.good else "low" if check.optional else "MISSING"
        table.add_row(state, _cell(check.name), _cell(check.found))
        if check.mend:
            table.add_row("", "  mend it with", _cell(check.mend))
    console.print(table)
    return DONE if all(check.good or check.optional for check in checks) else FAILED
