"""The tables of a run as lookups: which lines there are, in which order, what each cell says."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rcm_reports.formatting import decimals_for, decimals_of, known, visible
from rcm_reports.inputs import ReportInput, records
from rcm_reports.links import gallery_link
from rcm_reports.palette import Style, style_of
from rcm_reports.published import PublishedLine, published_lines

BENCHMARK_TITLES = {
    "geneval": "GenEval",
    "vbench": "VBench",
    "vbench_i2v": "VBench-I2V",
    "latency": "Time",
}
TIME_BENCHMARKS = frozenset({"latency", "throughput", "timing"})
NOT_QUALITY = TIME_BENCHMARKS | {"diversity", "feature_diversity"}


class Series(NamedTuple):
    """A line of the report: one model with one sampler."""

    model: str
    sampler: str


class Cell(NamedTuple):
    """A place in the grid: one line at one number of steps."""

    series: Series
    steps: int


class Value(NamedTuple):
    """A measurement; NaN where there is none."""

    value: float
    low: float
    high: float
    n_prompts: int
    n_samples: int
    n_missing: int


class Pair(NamedTuple):
    """A difference to the reference, paired by prompt; ``tied`` is None if untested.

    ``detectable`` is the smallest true difference that would be found 4 times in 5.
    """

    difference: float
    low: float
    high: float
    tied: bool | None
    ratio: float
    ratio_low: float
    ratio_high: float
    detectable: float = math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """What a metric is called, and which way is better."""

    benchmark: str
    name: str
    title: str
    unit: str
    higher_is_better: bool
    about: str
    headline: bool

    @property
    def key(self) -> str:
        """Name of the metric among all benchmarks."""
        return f"{self.benchmark}.{self.name}"

    @property
    def full_title(self) -> str:
        """Title that can stand alone."""
        benchmark = benchmark_title(self.benchmark)
        if self.title.lower() in ("overall", "total") or self.title.lower() == benchmark.lower():
            return benchmark
        return (
            self.title if benchmark.lower() in self.title.lower() else f"{benchmark}: {self.title}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A run as the report sees it.

    Args:
        manifest: The receipt.
        series: Lines in the order of the report: the reference first.
        steps: All numbers of steps, ascending.
        reference: What all is compared with, or None.
        metrics: Metrics that are declared or measured, in order.
        values: Measurements by (metric key, cell).
        pairs: Paired differences by (metric key, cell).
        timings: Times by (metric key, cell).
        nfe: Network evaluations of one sample, by cell.
        tasks: Tasks of the prompts.
        published: Numbers of others, a line each; never compared with.
    """

    manifest: Mapping[str, Any]
    series: tuple[Series, ...]
    steps: tuple[int, ...]
    reference: Cell | None
    metrics: tuple[Metric, ...]
    values: Mapping[tuple[str, Cell], Value]
    pairs: Mapping[tuple[str, Cell], Pair]
    timings: Mapping[tuple[str, Cell], Value]
    nfe: Mapping[Cell, float]
    tasks: frozenset[str] = frozenset()
    published: tuple[PublishedLine, ...] = ()

    def task_title(self, task: str) -> str:
        """Return a task's name as the tables have it, where the headline's parts are its tasks."""
        benchmark = self.quality.benchmark if self.quality else None
        parts = {m.name: m.title for m in self.metrics if m.benchmark == benchmark}
        return visible(parts.get(task, task), 60)

    def label(self, series: Series) -> str:
        """Return the shortest name that tells a line from the others."""
        alone = sum(other.model == series.model for other in self.series) == 1
        name = visible(series.model, 60)
        return name if alone else f"{name} ({visible(series.sampler, 40)})"

    def style(self, series: Series) -> Style:
        """Return how a line is drawn."""
        offset = 0 if self.reference is not None else 1
        return style_of(self.series.index(series) + offset)

    def cells(self, series: Series) -> list[Cell]:
        """Return the cells of a line that say anything, by ascending steps."""
        seen = {cell for _, cell in (*self.values, *self.timings)} | set(self.nfe)
        return [Cell(series, steps) for steps in self.steps if Cell(series, steps) in seen]

    def metric(self, key: str) -> Metric | None:
        """Return the metric of that key."""
        return next((metric for metric in self.metrics if metric.key == key), None)

    def decimals(self, keys: Iterable[str]) -> int:
        """Return the number of decimals that suits all values of these metrics or timings."""
        wanted = set(keys)
        tables = (*self.values.items(), *self.timings.items())
        found = [value for (key, _), value in tables if key in wanted]
        if not any(known(v.low, v.high) for v in found):
            values = [v.value for v in found if known(v.value)]
            return 0 if all(value == round(value) for value in values) else decimals_of(values)
        return decimals_for((v.low, v.high) for v in found)

    def measured(self, metric: Metric) -> bool:
        """Return True if the metric has a value anywhere."""
        return any(key == metric.key and known(v.value) for (key, _), v in self.values.items())

    def samples_link(self, cell: Cell, metric: Metric | None = None, *, lost: bool = False) -> str:
        """Return where the samples behind a number are: of one cell, and of one task if it is one.

        Args:
            cell: Where the number stands.
            metric: What the number is; its task narrows the view.
            lost: Only what the teacher gets right and this cell gets wrong.
        """
        return gallery_link(
            model=cell.series.model,
            sampler=cell.series.sampler,
            steps=cell.steps,
            task=metric.name if metric and metric.name in self.tasks else "",
            outcome="lost" if lost else "",
        )

    def remarks(self) -> list[str]:
        """Return what whoever made the run wants to be known, a sentence each."""
        return [visible(remark, 400) for remark in self.manifest.get("remarks") or []]

    @property
    def students(self) -> tuple[Series, ...]:
        """Return the lines that are not the reference's model."""
        if self.reference is None:
            return self.series
        return tuple(each for each in self.series if each.model != self.reference.series.model)

    @property
    def quality(self) -> Metric | None:
        """Return the metric that the verdict is about: the first headline but diversity and time.

        It may be declared and not measured: a limited run has no total.
        """
        others = [each for each in self.metrics if each.benchmark not in NOT_QUALITY]
        headlines = [each for each in others if each.headline]
        totals = [each for each in others if each.name in ("overall", "total")]
        return next(iter(headlines or totals or others), None)

    @property
    def diversity(self) -> Metric | None:
        """Return the headline of the diversity benchmark."""
        found = [metric for metric in self.metrics if metric.benchmark == "diversity"]
        return next((metric for metric in found if metric.headline), found[0] if found else None)


def benchmark_title(benchmark: str) -> str:
    """Return a benchmark's name as people write it."""
    name = visible(benchmark, 60)
    return BENCHMARK_TITLES.get(benchmark, name[:1].upper() + name[1:].replace("_", " "))


def build_study(report: ReportInput) -> Study:
    """Index the tables of a run."""
    values = {_key(row): _value(row) for row in records(report.measurements)}
    timings = {_key(row): _value(row) for row in records(report.timings)}
    cells = {cell for _, cell in (*values, *timings)}
    samples = (
        report.samples.drop_duplicates(["model", "sampler", "steps"])
        if len(report.samples)
        else report.samples
    )
    cells |= {_cell(row) for row in records(samples)}
    reference = _reference(report.manifest, cells)
    return Study(
        manifest=report.manifest,
        series=_ordered(report.manifest, cells, reference),
        steps=tuple(sorted({cell.steps for cell in cells})),
        reference=reference,
        metrics=metrics_of(report.manifest, [key for key, _ in values]),
        values=values,
        pairs={_key(row): _pair(row) for row in records(report.paired)},
        timings=timings,
        nfe=_nfe(report, values, timings),
        tasks=frozenset(report.samples["task"]) if "task" in report.samples else frozenset(),
        published=published_lines(report),
    )


def _cell(row: Mapping[str, Any]) -> Cell:
    return Cell(Series(str(row["model"]), str(row["sampler"])), int(row["steps"]))


def _key(row: Mapping[str, Any]) -> tuple[str, Cell]:
    return f"{row['benchmark']}.{row['metric']}", _cell(row)


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _int(value: Any) -> int:
    return int(value) if known(_float(value)) else 0


def _value(row: Mapping[str, Any]) -> Value:
    return Value(
        _float(row["value"]),
        _float(row.get("low")),
        _float(row.get("high")),
        _int(row.get("n_prompts")),
        _int(row.get("n_samples", row.get("n"))),
        _int(row.get("n_missing")),
    )


def _pair(row: Mapping[str, Any]) -> Pair:
    tied = row["tied"]
    untested = tied is None or (isinstance(tied, float) and math.isnan(tied)) or tied == ""
    return Pair(
        _float(row["difference"]),
        _float(row.get("difference_low")),
        _float(row.get("difference_high")),
        None if untested else str(tied).lower() in ("true", "1", "1.0"),
        _float(row.get("ratio")),
        _float(row.get("ratio_low")),
        _float(row.get("ratio_high")),
        _float(row.get("detectable")),
    )


def _reference(manifest: Mapping[str, Any], cells: set[Cell]) -> Cell | None:
    declared = manifest.get("reference") or {}
    found = [
        cell
        for cell in sorted(cells)
        if cell.series.model == str(declared.get("model")) and cell.steps == declared.get("steps")
    ]
    return found[0] if found else None


def _ordered(
    manifest: Mapping[str, Any], cells: set[Cell], reference: Cell | None
) -> tuple[Series, ...]:
    declared = {str(name): place for place, name in enumerate(manifest.get("models") or {})}
    first = reference.series if reference else None

    def rank(series: Series) -> tuple[bool, bool, int, Series]:
        same_model = first is not None and series.model == first.model
        return series != first, not same_model, declared.get(series.model, len(declared)), series

    return tuple(sorted({cell.series for cell in cells}, key=rank))


def metrics_of(manifest: Mapping[str, Any], measured: list[str]) -> tuple[Metric, ...]:
    """Return the metrics that a receipt declares, then those that are only measured."""
    declared: Mapping[str, Mapping[str, Any]] = manifest.get("metrics") or {}
    metrics = []
    for key in dict.fromkeys([*declared, *measured]):
        benchmark, _, name = key.partition(".")
        info = declared.get(key, {})
        metrics.append(
            Metric(
                benchmark=benchmark,
                name=name,
                title=visible(info.get("title") or name.replace("_", " "), 60),
                unit=visible(info.get("unit") or "", 40),
                higher_is_better=bool(info.get("higher_is_better", True)),
                about=visible(info.get("about") or "", 400),
                headline=bool(info.get("headline", False)),
            )
        )
    return tuple(metrics)


def _nfe(
    report: ReportInput,
    values: Mapping[tuple[str, Cell], Value],
    timings: Mapping[tuple[str, Cell], Value],
) -> dict[Cell, float]:
    """Return network evaluations by cell: as measured, else as the samples recorded them."""
    found: dict[Cell, float] = {}
    if len(report.samples) and "nfe" in report.samples.columns:
        usable = report.samples.dropna(subset=["nfe"])
        median = usable.groupby(["model", "sampler", "steps"], sort=True)["nfe"].median()
        found = {_cell(row): float(row["nfe"]) for row in records(median.reset_index())}
    for table in (timings, values):
        for (key, cell), value in table.items():
            if key.endswith(".nfe") and known(value.value):
                found[cell] = value.value
    return found
