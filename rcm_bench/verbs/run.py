"""run: plan, sample, score, aggregate, report; resumes what is there."""

import shlex
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from rcm_bench import environment, timing
from rcm_bench.errors import UserError
from rcm_bench.finish import OpenRun, Outcome, conclude
from rcm_bench.live import Asked, live
from rcm_bench.manifest import default_folder, make_manifest
from rcm_bench.prepare import Prepared, check_disk, prepare
from rcm_bench.reuse import adopt
from rcm_bench.sampling import Work, missing_work, sample
from rcm_bench.scoring import score, scores_per_sample, unique_scorers
from rcm_bench.store import RunStore
from rcm_bench.suite_load import load_suite


def run(
    suite: str,
    out: str | Path | None = None,
    limit: int | None = None,
    allow_pickle: Collection[str] = (),
) -> Outcome:
    """Do what a suite asks for, or what is still missing of it.

    Args:
        suite: Path of a suite, or the name of a shipped one.
        out: Run folder; ``runs/<suite>-<short hash>`` by default.
        limit: Only so many prompts, in proportion over the tasks.
        allow_pickle: SHA-256 of weights in pickles that may be read, with ``weights_only``.

    Raises:
        UserError: Something in the suite or in a file is wrong; nothing has been sampled.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit: expected at least 1 prompt, got {limit}")
    prepared = prepare(load_suite(suite), allow_pickle)
    if prepared.missing:
        raise UserError("\n".join(prepared.missing))
    unique_scorers(prepared.benchmarks)
    root = Path(out) if out is not None else default_folder(prepared)
    device = environment.pick_device()
    manifest = make_manifest(prepared, environment.environment(device))
    store = RunStore.create(root, manifest, prepared.plan.prompts)
    try:
        command = f"{manifest['command']}{_options(out, limit)}"
        outcome = _fill(prepared, store, device, limit, command)
    finally:
        store.close()
    if store.manifest["suite"].get("published", []) != manifest["suite"]["published"]:
        note = "the choice of published numbers changed after this run was frozen and is not shown"
        outcome = replace(outcome, remarks=[*outcome.remarks, note])
    if store.manifest["suite"].get("gates", {}) != manifest["suite"]["gates"]:
        note = "the suite's gates changed after this run was frozen and do not hold for it; see"
        return replace(outcome, remarks=[*outcome.remarks, f"{note} 'gate --margin'"])
    return outcome


def _options(out: str | Path | None, limit: int | None) -> str:
    named = f" --out {shlex.quote(str(out))}" if out is not None else ""
    return named + (f" --limit {limit}" if limit is not None else "")


def _fill(
    prepared: Prepared, store: RunStore, device: str, limit: int | None, command: str
) -> Outcome:
    plan, suite = prepared.plan, prepared.loaded.suite
    if suite.reuse:
        adopt(plan, store, [_reused(prepared, i) for i in range(len(suite.reuse))])
    index = store.index()
    work = missing_work(plan, index, plan.limited(limit))
    untimed = timing.has_timing(suite.benchmarks) and not timing.is_timed(plan, index)
    check_disk(prepared, store.root, _missing(work))
    asked = Asked(
        plan=plan,
        prompt_ids=plan.limited(limit),
        evaluations={
            (m, n): count for m, n in plan.cells() if (count := prepared.models[m].evaluations(n))
        },
        scorers=scores_per_sample(prepared.plan, prepared.benchmarks),
        untimed=untimed,
        command=command,
    )
    with live(store, asked):
        if work or untimed:
            _sample(prepared, store, device, work, untimed=untimed)
        score(plan, store, store.index(), prepared.benchmarks)
    opened = OpenRun(store=store, plan=plan, benchmarks=prepared.benchmarks)
    return conclude(opened, limit)


def _sample(
    prepared: Prepared, store: RunStore, device: str, work: list[Work], *, untimed: bool
) -> None:
    for model in prepared.models.values():
        model.load(device)
    name = environment.device_name(device)
    sample(prepared.plan, prepared.models, store, work, device=name)
    if untimed:
        timing.measure(prepared.plan, prepared.models, store, name, device)


def _reused(prepared: Prepared, position: int) -> Path:
    """Return a folder of ``reuse:``, relative to the suite's folder or to the working folder."""
    name = prepared.loaded.suite.reuse[position]
    beside = prepared.loaded.folder("reuse") / name
    for folder in (beside, Path(name)):
        if folder.is_dir():
            return folder
    place = prepared.loaded.place("reuse", position)
    raise UserError(f"{place}: {name}: no such folder, neither in {beside.parent} nor here")


def _missing(work: list[Work]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for part in work:
        counts[part.generate[0].model] += len(part.keep)
    return counts
