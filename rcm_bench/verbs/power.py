"""power: how many prompts and seeds a wished margin needs, and what a suite can tell apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rcm_bench.aggregate import common_prompts
from rcm_bench.baseline_file import read_evidence
from rcm_bench.errors import UserError, unknown_name
from rcm_bench.evidence import CellKey, Evidence
from rcm_bench.gates import candidates, check_margins
from rcm_bench.pairing import align
from rcm_bench.prepare import check_gates, make_benchmarks
from rcm_bench.prompt_sets import load_prompts
from rcm_bench.statistics import power as sizes
from rcm_bench.suite import Gate
from rcm_bench.suite_load import load_suite
from rcm_bench.types import MetricInfo, PromptRecord

SEEDS = (1, 2, 4, 8, 16)
POWERS = (0.8, 0.9)
ACCURACY, ICC, CORRELATION = 0.8, 0.6, 0.8
"""Planning values where there is no pilot: accuracies as papers print them, samples of one
prompt that mostly share their fate, and two models that mostly fail on the same prompts."""
_PLANNED = (
    f"planning values, not measured: accuracy {ACCURACY:g}, correlation {ICC:g} within a prompt, "
    f"{CORRELATION:g} between the prompt means of the two models"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """One row: what K seeds for each prompt would need and tell.

    Args:
        seeds: Seeds for each prompt, K.
        prompts: Prompts that the margin needs, by power; None without a margin or if not known.
        detectable: Smallest difference that the suite's own number of prompts tells with power
            0.8; NaN if not known.
    """

    seeds: int
    prompts: Mapping[float, int | None]
    detectable: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """What one metric needs.

    Args:
        metric: Such as ``"geneval.overall"``.
        unit: Its unit.
        margin: The wished margin; None if none was named.
        prompts: Prompts of the suite that the metric is measured on.
        seeds: Seeds for each prompt in the suite.
        detectable: Smallest difference that the suite as it stands tells, by power.
        sizes: One row for each number of seeds.
        source: Where the variances are from.
    """

    metric: str
    unit: str
    margin: float | None
    prompts: int
    seeds: int
    detectable: Mapping[float, float]
    sizes: list[Size]
    source: str


def power(
    suite: str, pilot: str | Path | None = None, margin: Mapping[str, float] | None = None
) -> list[Power]:
    """Say how many prompts and seeds the margins of a suite need, before anything is sampled.

    Args:
        suite: Path of a suite, or the name of a shipped one.
        pilot: A run folder or baseline file whose variances are taken; without one, planning
            values, for accuracies only.
        margin: Margins by metric, in place of the gates that the suite declares; without either,
            the headline metrics are shown with what the suite can tell apart.

    Raises:
        UserError: Something in the suite is wrong, or a metric has no variances.
    """
    loaded = load_suite(suite)
    benchmarks = make_benchmarks(loaded.suite, loaded.where)
    check_gates(loaded, benchmarks)
    infos = {f"{b.name}.{name}": info for b in benchmarks for name, info in b.metrics.items()}
    gates = loaded.suite.gates if not margin else check_margins(margin, list(infos))
    evidence = None if pilot is None else read_evidence(pilot)
    wished: dict[str, Gate | None] = dict(gates) or _headlines(infos, evidence)
    prompts = load_prompts(loaded)
    return [
        _power(name, infos[name], gate, evidence, prompts, loaded.suite.prompts.samples_per_prompt)
        for name, gate in wished.items()
    ]


def _headlines(infos: Mapping[str, MetricInfo], pilot: Evidence | None) -> dict[str, Gate | None]:
    return {
        name: None
        for name, info in infos.items()
        if info.headline and (info.unit == "accuracy" if pilot is None else name in pilot.metrics)
    }


def _power(
    metric: str,
    info: MetricInfo,
    gate: Gate | None,
    pilot: Evidence | None,
    prompts: Sequence[PromptRecord],
    seeds: int,
) -> Power:
    if pilot is None:
        variances, source = _planned(metric, info), _PLANNED
        tasks = {metric.partition(".")[2]}
    else:
        variances, source = _from_pilot(metric, gate, pilot)
        tasks = set(pilot.metrics[metric].measured.rows["stratum"])
    concerned = sum(prompt.task in tasks for prompt in prompts) or len(prompts)
    wished = None if gate is None else gate.margin
    grid = sorted({*SEEDS, seeds, variances.at} if pilot else {*SEEDS, seeds})
    return Power(
        metric=metric,
        unit=info.unit,
        margin=wished,
        prompts=concerned,
        seeds=seeds,
        detectable={p: sizes.detectable(variances, concerned, seeds, p) for p in POWERS},
        sizes=[_size(variances, k, wished, concerned) for k in grid],
        source=source,
    )


def _size(variances: sizes.Variances, seeds: int, margin: float | None, prompts: int) -> Size:
    return Size(
        seeds=seeds,
        prompts={
            p: None if margin is None else sizes.num_prompts(variances, seeds, margin, p)
            for p in POWERS
        },
        detectable=sizes.detectable(variances, prompts, seeds, POWERS[0]),
    )


def _planned(metric: str, info: MetricInfo) -> sizes.Variances:
    if info.unit != "accuracy":
        raise UserError(
            f"{metric}: there are planning values for accuracies only; name a run that measured "
            "it: --pilot RUN"
        )
    return sizes.planned(accuracy=ACCURACY, icc=ICC, correlation=CORRELATION)


def _from_pilot(metric: str, gate: Gate | None, pilot: Evidence) -> tuple[sizes.Variances, str]:
    """Return the variances of the student that varies most against its teacher."""
    if metric not in pilot.metrics:
        raise unknown_name(pilot.label, "metric", metric, pilot.metrics)
    teacher = pilot.cell(pilot.reference.model, pilot.reference.steps)
    assert teacher is not None
    seeds = int(pilot.protocol["prompts"]["samples_per_prompt"])
    found_cells = align(metric, pilot, pilot).candidate
    found: list[tuple[float, CellKey, sizes.Variances]] = []
    for key in candidates(gate, pilot):
        both = found_cells.get(key), found_cells.get(teacher)
        if both[0] is not None and both[1] is not None:
            common = common_prompts(both[0], both[1])
            variances = sizes.measured(common.student, common.reference, seeds)
            if variances.total == variances.total:
                found.append((variances.total, key, variances))
    if not found:
        raise UserError(f"{pilot.label}: holds no student and teacher with enough of {metric}")
    _, key, variances = max(found)
    return variances, f"measured in {pilot.label}: {key} against {teacher}, the most variable"
