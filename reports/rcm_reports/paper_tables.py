"""LaTeX tables for a paper: one for each benchmark, grouped by steps, laid out as in rCM's paper.

Its Table 1 gives GenEval as overall and six tasks beside model, parameters and evaluations, its
Table 2 gives VBench as Total, Quality and Semantic beside the throughput (arXiv 2510.08431v3).
Differs from both: every score has its interval, ties are marked, NFE is counted and not written as
steps times two, and VBench's dynamic degree stands beside the Total that rewards its absence.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rcm_reports.chart_lines import clip
from rcm_reports.escaping import latex
from rcm_reports.formatting import known, number
from rcm_reports.score_tables import time_key
from rcm_reports.study import TIME_BENCHMARKS, Cell, Metric, Study, benchmark_title

MAX_NAME = 32
VBENCH = ("total", "quality", "semantic", "dynamic_degree")
HEAD = (
    "% Needs \\usepackage{booktabs}, and {textcomp} with LaTeX from before 2020.\n"
    "% In one-column documents write table in place of table*.\n"
)


class Column(NamedTuple):
    """A column: its head in LaTeX, and its cells."""

    head: str
    cells: Mapping[Cell, str]


def paper_tables(study: Study) -> str:
    """Return the tables of all benchmarks that were measured, ready to be input by a paper."""
    names = dict.fromkeys(metric.benchmark for metric in study.metrics)
    tables = [_table(study, name) for name in names if name not in TIME_BENCHMARKS]
    return HEAD + "\n".join(table for table in tables if table)


def _table(study: Study, benchmark: str) -> str:
    metrics = _metrics(study, benchmark)
    if not metrics:
        return ""
    columns = [_steps(study), *_parameters(study), *_evaluations(study)]
    if benchmark == "vbench":
        columns += _throughput(study)
    mixed = len({metric.unit for metric in metrics}) > 1
    columns += [_scores(study, metric, with_unit=mixed) for metric in metrics]
    return (
        "\\begin{table*}\n\\centering\n\\footnotesize\\setlength{\\tabcolsep}{3.5pt}\n"
        f"\\caption{{{_caption(study, benchmark, metrics)}}}\n\\label{{tab:{_slug(benchmark)}}}\n"
        "\\smallskip\n"
        f"\\begin{{tabular}}{{l{'r' * len(columns)}}}\n\\toprule\n"
        f"{_row('Model', [column.head for column in columns])}\\midrule\n"
        f"{_body(study, columns, metrics)}\\bottomrule\n\\end{{tabular}}\n\\end{{table*}}\n"
    )


def _metrics(study: Study, benchmark: str) -> list[Metric]:
    """Return what the table shows: the headline first, then its parts; of VBench the totals."""
    mine = [m for m in study.metrics if m.benchmark == benchmark and study.measured(m)]
    if benchmark == "vbench" and any(metric.name in VBENCH for metric in mine):
        return sorted((m for m in mine if m.name in VBENCH), key=lambda m: VBENCH.index(m.name))
    return sorted(mine, key=lambda metric: not metric.headline)


def _body(study: Study, columns: list[Column], metrics: list[Metric]) -> str:
    """Return the rows: the reference, then every number of steps, most steps first."""
    cells = [cell for series in study.series for cell in study.cells(series)]
    cells = [c for c in cells if any((metric.key, c) in study.values for metric in metrics)]
    groups = [[cell for cell in cells if cell == study.reference]]
    for steps in reversed(study.steps):
        groups.append([c for c in cells if c.steps == steps and c != study.reference])
    return "\\midrule\n".join(
        "".join(
            _row(
                latex(clip(study.label(cell.series), MAX_NAME)),
                [column.cells.get(cell, "--") for column in columns],
            )
            for cell in group
        )
        for group in groups
        if group
    )


def _scores(study: Study, metric: Metric, *, with_unit: bool) -> Column:
    decimals = study.decimals([metric.key])
    cells = {}
    for (key, cell), value in study.values.items():
        if key != metric.key or not known(value.value):
            continue
        text = _number(value.value, decimals)
        if known(value.low, value.high):
            half = number((value.high - value.low) / 2, decimals)
            text += f"$_{{\\pm {half.removeprefix('0') if '.' in half else half}}}$"
        pair = study.pairs.get((key, cell))
        tied = pair is not None and pair.tied is True and known(pair.difference)
        cells[cell] = text + "\\rlap{$^{\\mathrm{t}}$}" * tied
    words = clip(metric.title, MAX_NAME).split(" ")
    words += [f"({clip(metric.unit, MAX_NAME)})"] if with_unit and metric.unit else []
    lines = [latex(word) for word in words if word]
    return Column("\\shortstack[r]{" + " \\\\ ".join(lines) + "}", cells)


def _steps(study: Study) -> Column:
    cells = [cell for series in study.series for cell in study.cells(series)]
    return Column("Steps", {cell: str(cell.steps) for cell in cells})


def _evaluations(study: Study) -> list[Column]:
    cells = {cell: _number(nfe, 0) for cell, nfe in study.nfe.items()}
    return [Column("NFE", cells)] if cells else []


def _parameters(study: Study) -> list[Column]:
    """Return the sizes of the models, where any is known."""
    models: Mapping[str, Mapping[str, Any]] = study.manifest.get("models") or {}
    cells: dict[Cell, str] = {}
    for series in study.series:
        entry = models.get(series.model) or {}
        given = entry.get("params") or (entry.get("card") or {}).get("params")
        if given is not None:
            cells |= {cell: latex(_size(given)) for cell in study.cells(series)}
    return [Column("Params", cells)] if cells else []


def _size(given: Any) -> str:
    if isinstance(given, str):
        return clip(given, 12)
    for limit, factor, unit in ((1e6, 1e3, "k"), (1e9, 1e6, "M")):
        if given < limit:
            return f"{given / factor:.3g}{unit}"
    return f"{given / 1e9:.3g}B"


def _throughput(study: Study) -> list[Column]:
    """Return frames or samples per second, from the median time of one sample at batch 1."""
    key = time_key(study)
    cells: dict[Cell, str] = {}
    frames = (study.manifest.get("protocol") or {}).get("frames")
    each = frames if isinstance(frames, int) else 1
    for (name, cell), value in study.timings.items():
        if name == key and known(value.value) and value.value > 0:
            cells[cell] = f"{each / value.value:.3g}"
    return [Column("FPS" if each > 1 else "Samples/s", cells)] if cells else []


def _caption(study: Study, benchmark: str, metrics: list[Metric]) -> str:
    units = {metric.unit for metric in metrics}
    unit = f" ({metrics[0].unit})" if len(units) == 1 and metrics[0].unit else ""
    keys = {metric.key for metric in metrics if metric.headline} or {metrics[0].key}
    counts = [value for (key, _), value in study.values.items() if key in keys]
    prompts = max((value.n_prompts for value in counts), default=0)
    text = f"{benchmark_title(benchmark)}{unit}. Each number with half its 95% interval"
    text += f", standard errors by prompt, {prompts} prompts" if prompts else ""
    missing = sum(value.n_missing for value in counts)
    text += f", {missing} samples without a value" if missing else ""
    if study.reference is not None:
        reference = f"{study.label(study.reference.series)} at {study.reference.steps} steps"
        text += f". t: tie with {reference}, paired by prompt and corrected after Holm"
    fingerprint = study.manifest.get("protocol_fingerprint")
    return latex(f"{text}." + (f" Protocol {fingerprint}." if fingerprint else ""))


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)


def _number(value: float, decimals: int) -> str:
    text = number(value, decimals)
    return text.replace("\N{MINUS SIGN}", "$-$").replace("\N{EN DASH}", "--")


def _row(label: str, cells: list[str]) -> str:
    return " & ".join([label, *cells]) + " \\\\\n"
