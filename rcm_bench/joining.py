"""Several runs in one report: students from different suites against the teacher of the first."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from rcm_bench import unrecorded
from rcm_bench.canonical import canonical_json, digest_of
from rcm_bench.comparability import NOBODY, SAMPLES, differences
from rcm_bench.conditions import conditions_of
from rcm_bench.errors import UserError
from rcm_bench.finish import OpenRun, is_whole, measure, told
from rcm_bench.store import Index, nothing_sampled
from rcm_bench.tables import run_tables
from rcm_bench.throughput_table import throughput_table
from rcm_bench.timing import timing_table
from rcm_bench.types import Reference

if TYPE_CHECKING:
    from rcm_reports import ReportInput

_MAX_DIFFERENCES = 5
SEPARATE_TIMES = (
    "Times were measured in separate runs, not in interleaved rounds: a slow moment of the machine "
    "may stand behind a difference between models of different runs."
)


class _Part(NamedTuple):
    """What one run adds: its cells under their new names, and the frames of them."""

    models: dict[str, str]
    samples: pd.DataFrame
    scores: pd.DataFrame
    failures: pd.DataFrame
    timings: pd.DataFrame
    throughput: pd.DataFrame
    whole: bool


def check_comparable(first: OpenRun, other: OpenRun) -> None:
    """Refuse two runs whose numbers must not stand side by side, by the rules of ``compare``.

    A report has one set of prompts, so that here these must be the same, too. What nobody recorded
    of sets that were brought is no reason: it is said beside the comparisons, as in one run.

    Raises:
        UserError: It says which parts of the protocol differ, how, and what follows.
    """
    ours, theirs = conditions_of(first), conditions_of(other)
    found = [
        d
        for d in differences(ours, theirs)
        if (d.effect != "harmless" and d.why != NOBODY) or d.part == SAMPLES
    ]
    lines = [f"{d.part}: {d.first} in {first.store.root}, {d.other} here ({d.why})" for d in found]
    names = [", ".join(sorted(c.protocol["benchmarks"])) for c in (ours, theirs)]
    if names[0] != names[1]:
        lines.append(f"benchmarks: {names[0]} in {first.store.root}, {names[1]} here")
    if lines:
        more = len(lines) - _MAX_DIFFERENCES
        shown = lines[:_MAX_DIFFERENCES] + ([f"and {more} more"] if more > 0 else [])
        raise UserError(
            f"{other.store.root}: its numbers cannot stand beside those of {first.store.root}; "
            "their protocols differ in\n  " + "\n  ".join(shown)
        )


def run_names(runs: Sequence[OpenRun]) -> list[str]:
    """Return short names: of the suites, else of the folders, else numbered."""
    folders = [run.store.root.resolve().name for run in runs]
    for names in ([run.plan.suite.suite for run in runs], folders):
        if len(set(names)) == len(names):
            return names
    counts: Counter[str] = Counter()
    for name in folders:
        counts[name] += 1
    seen: Counter[str] = Counter()
    numbered = []
    for name in folders:
        seen[name] += 1
        numbered.append(f"{name} #{seen[name]}" if counts[name] > 1 else name)
    return numbered


def join(runs: Sequence[OpenRun]) -> "ReportInput":
    """Make one report of several runs, all paired with the teacher of the first.

    A model that is the same in two runs (weights, architecture, sampler and name) is one model, and
    its samples are taken from the first run that has its steps; one that was brought also at other
    steps, if the same is recorded of it. Other models of the same name are told apart by their run.

    Raises:
        UserError: A run holds nothing, or was made under another protocol.
    """
    from rcm_bench.posters import poster_of
    from rcm_reports import ReportInput

    for other in runs[1:]:
        check_comparable(runs[0], other)
    names = run_names(runs)
    renamed = _model_names(runs, names)
    parts: list[_Part] = []
    for place, run in enumerate(runs):
        parts.append(_part(run, run.store.index(), renamed[place], place, parts))
    samples = pd.concat([part.samples for part in parts], ignore_index=True)
    scores = pd.concat([part.scores for part in parts], ignore_index=True)
    declared = runs[0].plan.reference()
    reference = Reference(model=renamed[0][declared.model], steps=declared.steps)
    whole = all(part.whole for part in parts)
    result = measure(runs[0], samples, scores, totals=whole, reference=reference)
    doubtful = {
        new
        for run, part in zip(runs, parts, strict=True)
        for old, new in part.models.items()
        if old in unrecorded.unverified(run.plan)
    }
    return ReportInput(
        manifest=_manifest(runs, names, parts, reference, len(samples)),
        measurements=result.measurements,
        paired=told(result.paired, doubtful),
        samples=samples,
        scores=scores,
        failures=pd.concat([part.failures for part in parts], ignore_index=True),
        timings=pd.concat([part.timings for part in parts], ignore_index=True),
        run_dir=runs[0].store.root,
        throughput=pd.concat([part.throughput for part in parts], ignore_index=True),
        poster=poster_of,
    )


def _model_names(runs: Sequence[OpenRun], names: Sequence[str]) -> list[dict[str, str]]:
    """Return the names of each run's models in the report; one name, one model."""
    contrary = _contrary(runs)
    known: dict[str, set[str]] = {}
    for run in runs:
        for model in run.plan.suite.models:
            known.setdefault(model, set()).add(_identity(run, model, contrary))
    taken: dict[str, str] = {}
    found = []
    for run, run_name in zip(runs, names, strict=True):
        own = {}
        for model in run.plan.suite.models:
            name = model if len(known[model]) == 1 else f"{model} ({run_name})"
            identity = _identity(run, model, contrary)
            while taken.get(name, identity) != identity:
                name += "'"
            taken[name] = identity
            own[model] = name
        found.append(own)
    return found


_OF_FILES = ("files", "formats", "resolution", "frames", "fps", "remarks")
"""What the files of brought sets show, which depends on the steps that are there."""


def _identity(run: OpenRun, model: str, contrary: set[str]) -> str:
    sampler = run.plan.suite.models[model].sampler
    identity = dict(run.plan.identities[model])
    if unrecorded.is_brought(identity) and model not in contrary:
        identity = {key: value for key, value in identity.items() if key not in _OF_FILES}
    return canonical_json([identity, sampler, run.plan.suite.samplers[sampler]])


def _contrary(runs: Sequence[OpenRun]) -> set[str]:
    """Return the names under which two runs brought other files for the same steps."""
    files: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        for model, identity in run.plan.identities.items():
            for steps, digest in identity.get("files", {}).items():
                files.setdefault((model, str(steps)), set()).add(str(digest))
    return {model for (model, _), digests in files.items() if len(digests) > 1}


def _part(
    run: OpenRun, index: Index, models: dict[str, str], place: int, before: Sequence[_Part]
) -> _Part:
    if not index.samples:
        raise nothing_sampled(run.store.root, index)
    tables = run_tables(run.plan, index, run.benchmarks)
    taken = {cell for part in before for cell in _cells(part.samples)}

    def own(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.assign(model=frame["model"].map(models))
        if "item_id" in frame:
            frame["item_id"] = f"{place}-" + frame["item_id"].astype(str)
        new = [cell not in taken for cell in _cells(frame)]
        return frame[pd.Series(new, index=frame.index, dtype=bool)]

    samples = own(tables.samples).assign(run_dir=str(run.store.root.resolve()))
    scores = tables.scores.assign(item_id=f"{place}-" + tables.scores["item_id"].astype(str))
    return _Part(
        models=models,
        samples=samples,
        scores=scores[scores["item_id"].isin(samples["item_id"])],
        failures=own(tables.failures),
        timings=own(timing_table(run.plan, index)),
        throughput=own(throughput_table(run.plan, index)),
        whole=is_whole(run, index),
    )


def _cells(frame: pd.DataFrame) -> list[tuple[str, int]]:
    return list(zip(frame["model"], frame["steps"], strict=True))


def _manifest(
    runs: Sequence[OpenRun],
    names: Sequence[str],
    parts: Sequence[_Part],
    reference: Reference,
    num_items: int,
) -> dict[str, Any]:
    manifests = [run.store.manifest for run in runs]
    first = manifests[0]
    models: dict[str, Any] = {}
    for manifest, name, part in zip(manifests, names, parts, strict=True):
        for old, new in part.models.items():
            models.setdefault(new, {**manifest["models"][old], "run": name})
    protocol = {**first["protocol"], "samplers": {}, "steps": {}}
    for manifest, name in zip(manifests, names, strict=True):
        protocol["samplers"][name] = manifest["protocol"]["samplers"]
        protocol["steps"][name] = manifest["protocol"]["steps"]
    counts = {key: first["plan"][key] for key in ("num_prompts", "samples_per_prompt")}
    return {
        "schema": first["schema"],
        "suite": {"suite": " + ".join(names)},
        "plan": {"num_items": num_items, **counts},
        "protocol": protocol,
        "protocol_fingerprint": digest_of(protocol)[:12],
        "reference": asdict(reference),
        "models": models,
        "metrics": first["metrics"],
        "environment": {n: m["environment"] for n, m in zip(names, manifests, strict=True)},
        "command": "; ".join(dict.fromkeys(str(m["command"]) for m in manifests)),
        "created": max(str(manifest["created"]) for manifest in manifests),
        "runs": {
            name: {
                "protocol fingerprint": manifest["protocol_fingerprint"],
                "suite digest": manifest["suite_digest"],
                "created": manifest["created"],
            }
            for name, manifest in zip(names, manifests, strict=True)
        },
        "remarks": [*_remarks(names, parts), *_doubts(runs, names)],
    }


def _doubts(runs: Sequence[OpenRun], names: Sequence[str]) -> list[str]:
    """Say what nobody recorded: of the models of each run, and that runs may differ in."""
    said = [
        f"{name}: {remark}"
        for run, name in zip(runs, names, strict=True)
        for remark in unrecorded.remarks(run.plan)
    ]
    for run, name in zip(runs[1:], names[1:], strict=True):
        open_ = differences(conditions_of(runs[0]), conditions_of(run))
        parts = dict.fromkeys(d.part for d in open_ if d.why == NOBODY)
        if parts:
            said.append(f"Not verified between {names[0]} and {name}: {', '.join(parts)}.")
    return said


def _remarks(names: Sequence[str], parts: Sequence[_Part]) -> list[str]:
    remarks = [
        f"{name} is not complete, so no benchmark total is given."
        for name, part in zip(names, parts, strict=True)
        if not part.whole
    ]
    timed = [part for part in parts if len(part.timings)]
    if len(timed) > 1:
        devices = sorted({str(d) for part in timed for d in part.timings["device"]})
        several = f" They come from different devices ({', '.join(devices)})."
        remarks.append(SEPARATE_TIMES + (several if len(devices) > 1 else ""))
    return remarks
