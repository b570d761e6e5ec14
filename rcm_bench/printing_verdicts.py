"""What compare, gate and power print."""

import math
import sys
from typing import TYPE_CHECKING, Any

from rich.table import Table

from rcm_bench.console import cell, console, number
from rcm_bench.exit_codes import DONE, FAILED, INCOMPLETE, INCONCLUSIVE

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.run_pairs import Against
    from rcm_bench.verbs.compare import Compared
    from rcm_bench.verbs.gate import Judged
    from rcm_bench.verbs.power import Power

_CODES = {"pass": DONE, "fail": FAILED, "inconclusive": INCONCLUSIVE}


def print_compared(compared: "Compared") -> int:
    """Print what differs in protocol, then what differs in numbers; tasks only where they do."""
    out = console()
    for entry in compared.against:
        out.print(cell(f"{entry.run} against {compared.first}"))
        _print_protocol(entry)
        _print_pairs(entry)
    if compared.published is not None:
        _print_published(compared.published.table)
        for remark in compared.published.remarks:
            out.print(cell(f"Note: {remark}."))
    return DONE if compared.done else INCOMPLETE


def _print_protocol(entry: "Against") -> None:
    out = console()
    grave = [d for d in entry.protocol if d.effect != "harmless"]
    harmless = [d for d in entry.protocol if d.effect == "harmless"]
    if grave:
        table = _table("Protocol", "benchmark", "part", "first run", "this run", "so")
        for found in grave:
            four = (found.benchmark or "all", found.part, found.first, found.other)
            table.add_row(*map(cell, four), cell(f"{found.effect}: {found.why}"))
        out.print(table)
    else:
        out.print("Protocol: nothing that a benchmark fixes differs")
    if harmless:
        listed = ", ".join(f"{d.part} ({d.first}; {d.other})" for d in harmless)
        out.print(cell(f"Differs without an effect beyond rounding: {listed}"))
    for (mine, theirs), found_all in entry.models.items():
        said = [f"{d.part} ({d.first}; {d.other})" for d in found_all if d.effect == "compared"]
        if said:
            name = mine if mine == theirs else f"{mine} against {theirs}"
            out.print(cell(f"Compared: {name}: {', '.join(said)}"))


def _print_pairs(entry: "Against") -> None:
    out = console()
    fresh = entry.paired[~entry.paired["same_samples"].astype(bool)]
    headline = fresh["headline"].astype(bool)
    if headline.any():
        names = ("metric", "model", "steps", "difference", "p (Holm)", "", "prompts", "missing")
        title = "Paired differences by prompt with 95 % intervals, this run minus the first"
        table = _table(title, *names)
        for _, row in fresh[headline].iterrows():
            table.add_row(*_pair_cells(row))
        out.print(table)
    _print_parts(fresh[~headline])
    same = entry.paired.loc[entry.paired["same_samples"].astype(bool), ["model", "steps"]]
    for model, rows in same.drop_duplicates().groupby("model", sort=False):
        steps = ", ".join(map(str, rows["steps"]))
        out.print(cell(f"The same samples in both: {model} at {steps} steps"))
    for refusal in entry.refused:
        out.print(cell(f"Refused: {refusal}."))
    for remark in entry.remarks:
        out.print(cell(f"Note: {remark}."))


def _print_parts(parts: "pd.DataFrame") -> None:
    """Say in a line for each single task or part which configurations differ there."""
    tested = parts[parts["p_holm"].notna()]
    for name, rows in tested.groupby(tested["benchmark"] + "." + tested["metric"], sort=False):
        apart = [
            f"{r['model']}@{r['steps']} {_signed(r['difference'])}"
            for _, r in rows.iterrows()
            if not r["tied"]
        ]
        ties = len(rows) - len(apart)
        said = ", ".join(apart) or "none"
        console().print(cell(f"{name}: differs: {said}; {ties} of {len(rows)} are ties"))


def _pair_cells(row: "pd.Series[Any]") -> list[Any]:
    model, steps = str(row["model"]), str(row["steps"])
    if (row["model"], row["steps"]) != (row["reference_model"], row["reference_steps"]):
        steps += f" - {row['reference_model']}@{row['reference_steps']}"
    low, high = row["difference_low"], row["difference_high"]
    difference = f"{_signed(row['difference'])} [{_signed(low)},{_signed(high)}]"
    if math.isnan(row["difference"]):
        difference = "-"
    elif math.isnan(low):
        difference = f"{_signed(row['difference'])} [no interval]"
    verdict = "differs" if row["tied"] is False else "untested"
    if row["tied"] is True:
        verdict = f"tie (would tell {row['detectable']:.2g})"
    verdict += "" if row["verified"] else " (not verified)"
    found = "" if math.isnan(row["p_holm"]) else f"{row['p_holm']:.2g}"
    if math.isnan(row["difference"]) or math.isnan(low):
        verdict = str(row["method"])
    name = f"{row['benchmark']}.{row['metric']} ({row['unit']})"
    prompts = str(row["n_prompts"])
    if row["n_unpaired"]:
        prompts += f" (+{row['n_unpaired']} unpaired)"
    texts = (name, model, steps, difference, found, verdict, prompts)
    return [*map(cell, texts), str(row["n_missing"])]


def _print_published(table: "pd.DataFrame") -> None:
    shown = table[table["metric"].isin(["overall", "total"])]
    if not len(shown):
        return
    out = _table("Beside published numbers", "origin", "metric", "model", "method", "steps",
                 "value", "source", "differs in")  # fmt: skip
    for _, row in shown.iterrows():
        value = number(float(row["value"]))
        if not math.isnan(row["low"]):
            value += f" [{number(float(row['low']))},{number(float(row['high']))}]"
        name = f"{row['model']} {row['params']}".strip()
        texts = (row["origin"], f"{row['benchmark']}.{row['metric']}", name, row["method"])
        out.add_row(
            *map(cell, texts), str(row["steps"]), cell(value), cell(row["source"]),
            cell("; ".join(filter(None, (row["differs"], row["note"])))),
        )  # fmt: skip
    console().print(out)


def print_judged(judged: "Judged") -> int:
    """Print every check and, last, the verdict."""
    out = console()
    table = _table(f"Gates of {judged.suite}", "outcome", "metric", "model", "steps", "against",
                   "worse by", "margin", "n", "why")  # fmt: skip
    for check in judged.checks:
        loss = "-" if math.isnan(check.loss) else f"{_signed(check.loss)}"
        if not math.isnan(check.low):
            loss += f" [{_signed(check.low)},{_signed(check.high)}]"
        margin = f"{check.margin:g} {check.unit}"
        texts = (check.outcome, check.metric, check.model, check.steps, check.reference, loss,
                 margin, check.n, check.reason)  # fmt: skip
        table.add_row(*map(cell, texts))
    out.print(table)
    for remark in judged.remarks:
        out.print(cell(f"Note: {remark}."))
    sys.stdout.write(f"{judged.outcome}\n")
    return _CODES[judged.outcome]


def print_power(found: "list[Power]") -> int:
    """Print what every metric needs, and what the suite tells as it stands."""
    out = console()
    for entry in found:
        title = f"{entry.metric} ({entry.unit})"
        title += "" if entry.margin is None else f", margin {entry.margin:g}"
        table = _table(title, "seeds per prompt")
        powers = list(entry.detectable)
        for power in powers if entry.margin is not None else ():
            table.add_column(f"prompts, power {power * 100:.0f} %", justify="right")
        table.add_column(f"{entry.prompts} prompts tell", justify="right")
        for size in entry.sizes:
            needs = ["-" if size.prompts[p] is None else f"{size.prompts[p]:,}" for p in powers]
            needs = needs if entry.margin is not None else []
            tell = "-" if math.isnan(size.detectable) else f"{size.detectable:.3g}"
            table.add_row(str(size.seeds), *needs, tell)
        out.print(table)
        tells = " or ".join(
            f"{d:.3g} with power {p * 100:.0f} %" for p, d in entry.detectable.items()
        )
        out.print(f"As it stands ({entry.prompts} prompts x {entry.seeds} seeds): tells {tells}")
        out.print(cell(f"Variances: {entry.source}"))
    return DONE


def _table(title: str, *names: str) -> Table:
    table = Table(title=cell(title), title_justify="left")
    for name in names:
        right = name in ("steps", "prompts", "missing", "n", "margin", "seeds per prompt")
        table.add_column(name, justify="right" if right else "left")
    return table


def _signed(value: float) -> str:
    return f"{value:+.3g}"
