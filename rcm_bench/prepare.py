"""From a suite to all that a run needs; what can fail is found here, before the first sample."""

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rcm_bench import components
from rcm_bench.bring.together import check_together
from rcm_bench.errors import MissingError, UserError, unknown_name
from rcm_bench.planning import Plan, make_plan, seeds_of, steps_of
from rcm_bench.prompt_sets import load_prompts
from rcm_bench.suite import SAMPLERS, Suite
from rcm_bench.suite_faults import validate
from rcm_bench.suite_load import LoadedSuite
from rcm_bench.suite_yaml import KeyPath, spell
from rcm_bench.types import Benchmark, Model, ModelContext, PromptRecord

_DISK_MARGIN = 1.2
TIMINGS = ("latency", "throughput")
"""Benchmarks that measure time alone, for which weights need not be trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A suite whose every name is resolved.

    Args:
        loaded: The suite.
        plan: Its work items.
        models: Models by name; their weights are not loaded yet.
        benchmarks: What is measured, in the suite's order.
        missing: What has to be brought to this machine before a run can start.
    """

    loaded: LoadedSuite
    plan: Plan
    models: Mapping[str, Model]
    benchmarks: list[Benchmark]
    missing: list[str]


def prepare(loaded: LoadedSuite, pickles: Collection[str] = ()) -> Prepared:
    """Resolve models, prompts and benchmarks of a suite, and expand it.

    Args:
        loaded: The suite.
        pickles: SHA-256 of the pickles that the command line allows to be read.

    Raises:
        UserError: A name, a setting or a file is wrong.
    """
    allowed = frozenset(pickles)
    models = {name: _model(name, loaded, allowed) for name in loaded.suite.models}
    benchmarks = make_benchmarks(loaded.suite, loaded.where)
    _refuse_quality_of_random(loaded, models)
    missing = missing_weights(models)
    planned_anyway = bool(missing)
    check_gates(loaded, benchmarks)
    with _all_told(missing):
        prompts = load_prompts(loaded)
    if loaded.suite.published:
        from rcm_bench.published_rows import check_published  # pandas, which a plan does not need

        check_published(loaded, benchmarks, prompts)
    _check_models(loaded, models, prompts)
    check_together(loaded, models, benchmarks)
    found: dict[str, dict[str, Any]] = {}
    for benchmark in benchmarks:
        place = loaded.place("benchmarks", benchmark.name)
        with _told(missing):
            getattr(benchmark, "check_prompts", _nothing)(prompts, place)
        with _told(missing):
            own = getattr(benchmark, "freeze", _nothing)(prompts, models, place)
            found[benchmark.name] = own or {}
    if missing and not planned_anyway:
        raise MissingError("\n".join(missing))
    if any(found.values()):
        loaded = _with_found(loaded, found)
        benchmarks = make_benchmarks(loaded.suite, loaded.where)
    identities = {name: model.identity() for name, model in models.items()}
    plan = make_plan(loaded.suite, prompts, identities)
    return Prepared(loaded=loaded, plan=plan, models=models, benchmarks=benchmarks, missing=missing)


def _nothing(*given: Any) -> None:
    """Stand for what a benchmark does not have."""


def _with_found(loaded: LoadedSuite, found: Mapping[str, Mapping[str, Any]]) -> LoadedSuite:
    """Write into a suite what its benchmarks found and a run freezes, such as digests of files."""
    benchmarks = {
        name: {**(settings or {}), **own} if (own := found.get(name)) else settings
        for name, settings in loaded.suite.benchmarks.items()
    }
    suite = loaded.suite.model_copy(update={"benchmarks": benchmarks})
    return replace(loaded, suite=suite, data={**loaded.data, "benchmarks": benchmarks})


@contextmanager
def _told(missing: list[str]) -> Iterator[None]:
    """List what scorers lack beside what models do: one plan tells all."""
    with _all_told(missing):
        try:
            yield
        except MissingError as lack:
            missing += [line for line in str(lack).split("\n") if line not in missing]


@contextmanager
def _all_told(missing: list[str]) -> Iterator[None]:
    """Where a plan must end here, say what else is missing: all of it can be got at once."""
    try:
        yield
    except UserError as fault:
        if not missing:
            raise
        raise UserError("\n".join([str(fault), *missing])) from None


def _check_models(
    loaded: LoadedSuite, models: Mapping[str, Model], prompts: Sequence[PromptRecord]
) -> None:
    """Check every model, so that what is wrong with any is said at once."""
    faults = []
    suite = loaded.suite
    samples = {prompt.prompt_id: len(seeds_of(prompt, suite)) for prompt in prompts}
    for name, model in models.items():
        steps = steps_of(suite, suite.models[name])
        try:
            getattr(model, "bring", lambda *given: None)(prompts, samples, steps)
            model.check(prompts, steps)
        except UserError as fault:
            faults.append(str(fault))
    if faults:
        raise UserError("\n".join(faults))


def missing_weights(models: Mapping[str, Model]) -> list[str]:
    """Say for each model what has to be brought to this machine before a run, each thing once."""
    said: list[list[str]] = [getattr(m, "missing", list)() for m in models.values()]
    return list(dict.fromkeys(text for texts in said for text in texts))


def _refuse_quality_of_random(loaded: LoadedSuite, models: Mapping[str, Model]) -> None:
    """Refuse scores of models with random weights: only their time means anything."""
    measured = [name for name in loaded.suite.benchmarks if name not in TIMINGS]
    for name, model in models.items():
        if measured and not getattr(model, "trained", lambda: True)():
            raise UserError(
                f"{loaded.place('models', name)}.weights: random weights are for throughput only "
                f"({' or '.join(TIMINGS)}); '{measured[0]}' would measure noise"
            )


def _model(name: str, loaded: LoadedSuite, pickles: frozenset[str]) -> Model:
    entry = loaded.suite.models[name]
    at = ("models", name)
    kind = components.find("models", "model kind", entry.kind, loaded.place(*at, "kind"))
    settings = validate(kind.Settings, entry.settings(), loaded.where, at)
    sampler = loaded.suite.samplers[entry.sampler]
    typed = SAMPLERS[sampler["kind"]].model_validate(sampler)
    place, folder = loaded.place(*at), loaded.folder(*at)
    context = ModelContext(place=place, folder=folder, pickles=pickles)
    model: Model = kind(settings, typed, context)
    return model


def make_benchmarks(suite: Suite, where: Any = lambda at: "suite") -> list[Benchmark]:
    """Make the benchmarks of a suite and their scorers.

    Args:
        suite: The suite.
        where: Gives file and line for a key path.

    Raises:
        UserError: A name or a setting is wrong, or a scorer is not available here.
    """
    made = []
    for name, settings in suite.benchmarks.items():
        at: KeyPath = ("benchmarks", name)
        kind = components.find("benchmarks", "benchmark", name, f"{where(at)}: {spell(at)}")
        made.append(validate(kind, settings or {}, where, at))
    return made


def check_gates(loaded: LoadedSuite, benchmarks: Sequence[Benchmark]) -> None:
    """Refuse gates on what the suite does not measure, sample or declare.

    Raises:
        UserError: A metric, a model or a number of steps of a gate is not there.
    """
    suite = loaded.suite
    metrics = [f"{b.name}.{name}" for b in benchmarks for name in b.metrics]
    for metric, gate in suite.gates.items():
        if metric not in metrics:
            raise unknown_name(loaded.place("gates", metric), "metric", metric, metrics)
        for i, name in enumerate(gate.models or []):
            if name not in suite.models:
                where = loaded.place("gates", metric, "models", i)
                raise unknown_name(where, "model", name, suite.models)
        students = gate.models or [n for n, m in suite.models.items() if m.role != "teacher"]
        grid = {n for name in students for n in steps_of(suite, suite.models[name])}
        for i, steps in enumerate(gate.steps or []):
            if steps not in grid:
                where = loaded.place("gates", metric, "steps", i)
                there = ", ".join(map(str, sorted(grid)))
                raise UserError(f"{where}: no gated model has {steps} steps. Available: {there}.")


def check_disk(prepared: Prepared, out: Path, missing: Mapping[str, int]) -> None:
    """Refuse to start where the samples will not fit.

    Args:
        prepared: The run.
        out: The run folder, which need not exist.
        missing: How many samples of each model are still to be made.

    Raises:
        UserError: There is too little space.
    """
    needed = sum(prepared.models[n].cost().bytes_per_sample * k for n, k in missing.items())
    folder = next(path for path in (out, *out.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if needed * _DISK_MARGIN > free:
        raise UserError(
            f"{out}: expected {needed * _DISK_MARGIN / 1e6:.0f} MB of free space for the samples, "
            f"got {free / 1e6:.0f} MB; free some, or give --out on another disk"
        )
