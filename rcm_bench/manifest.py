"""The receipt of a run: plan, protocol, models and environment, frozen before the first sample."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rcm_bench.canonical import digest_of
from rcm_bench.media import CODEC
from rcm_bench.planning import NOISE, Plan
from rcm_bench.prepare import Prepared
from rcm_bench.prompt_sets import convention_of, prompts_digest
from rcm_bench.scoring import scorers_of
from rcm_bench.shipped import shipped
from rcm_bench.store import SCHEMA, frozen_suite, now
from rcm_bench.suite import Suite
from rcm_bench.types import Benchmark, Model
from rcm_bench.unrecorded import UNKNOWN, is_brought, stated
from rcm_bench.video_files import ABOUT as VIDEO_ABOUT
from rcm_bench.video_files import CODEC as VIDEO_CODEC

CODEC_ABOUT = {VIDEO_CODEC: f"{VIDEO_CODEC} ({VIDEO_ABOUT})"}
AGGREGATION = "prompt-clustered-2"
_SHORT = 12
_MAX_SLUG = 40


def make_manifest(prepared: Prepared, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of a prepared suite.

    Args:
        prepared: The resolved suite.
        environment: What the first invocation runs on.
    """
    plan, data = prepared.plan, prepared.loaded.data
    protocol = make_protocol(plan, prepared.benchmarks)
    return {
        "schema": SCHEMA,
        "suite": data,
        "suite_digest": digest_of(frozen_suite(data))[:_SHORT],
        "plan": counts(plan, prepared.models),
        "protocol": protocol,
        "protocol_fingerprint": digest_of(protocol)[:_SHORT],
        "reference": asdict(plan.reference()),
        "models": {name: _model(name, prepared) for name in prepared.models},
        "metrics": {
            f"{benchmark.name}.{name}": asdict(info)
            for benchmark in prepared.benchmarks
            for name, info in benchmark.metrics.items()
        },
        "environment": dict(environment),
        "command": _command(prepared.loaded.path),
        "created": now(),
        "frozen": frozen(plan, data),
    }


def _command(suite: Path) -> str:
    """Return the command that makes the run again; a shipped suite goes by its name anywhere."""
    at_home = suite.resolve().parent == shipped("suites").resolve()
    return f"python -m rcm_bench run {suite.stem if at_home else shlex.quote(str(suite))}"


def frozen(plan: Plan, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be equal when a run is continued."""
    return {
        "suite": frozen_suite(data),
        "prompts": prompts_digest(plan.prompts),
        "models": {name: dict(identity) for name, identity in plan.identities.items()},
        "plan": plan.digest(),
    }


def run_hash(prepared: Prepared) -> str:
    """Return the short hash in the name of a run's folder: another plan, another folder."""
    return digest_of(frozen(prepared.plan, prepared.loaded.data))[:8]


def default_folder(prepared: Prepared) -> Path:
    """Return ``runs/<suite>-<short hash>``; the name of the suite is made safe for a path."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", prepared.loaded.suite.suite).strip("-.")
    return Path("runs") / f"{slug[:_MAX_SLUG] or 'suite'}-{run_hash(prepared)}"


def counts(plan: Plan, models: Mapping[str, Model]) -> dict[str, Any]:
    """Return how much work the plan holds."""
    cells = list(plan.cells())
    per_cell = len(plan.items) // len(cells)
    evaluations = sum(models[name].evaluations(steps) for name, steps in cells) * per_cell
    tasks: dict[str, int] = {}
    for prompt in plan.prompts:
        tasks[prompt.task] = tasks.get(prompt.task, 0) + 1
    return {
        "num_items": len(plan.items),
        "num_prompts": len(plan.prompts),
        "samples_per_prompt": plan.suite.prompts.samples_per_prompt,
        "num_batches": len({item.batch_id for item in plan.items}),
        "num_evaluations": evaluations,
        "prompts_per_task": dict(sorted(tasks.items())),
        "digest": plan.digest()[:_SHORT],
    }


def make_protocol(plan: Plan, benchmarks: Sequence[Benchmark]) -> dict[str, Any]:
    """Return everything that can change a score."""
    suite = plan.suite
    convention = convention_of(plan.prompts)

    def said(part: str, own: Any) -> Any:
        return stated(plan.identities, part, own)

    return {
        "name": suite.protocol.name,
        "prompts": {
            **suite.prompts.model_dump(mode="json", exclude_none=True),
            "digest": prompts_digest(plan.prompts)[:_SHORT],
            **_of_set(plan, convention),
            **deviation(plan, benchmarks),
        },
        "rewriting": said("rewriting", convention.get("rewriting", suite.protocol.rewriting)),
        "negative_prompt": said("negative_prompt", _negative_prompts(plan)),
        "seeds": said("seeds", convention.get("seeds", suite.protocol.seeds)),
        "noise": said("noise", NOISE),
        "samplers": suite.samplers,
        "steps": {name: list(_steps(suite, name)) for name in suite.models},
        "resolution": sorted({str(i.get("resolution")) for i in plan.identities.values()}),
        "dtype": sorted({str(i.get("dtype")) for i in plan.identities.values()}),
        "codec": _codec(plan),
        "scorers": _scorers(benchmarks),
        "failures": suite.run.failures,
        "aggregation": AGGREGATION,
        "population": suite.protocol.population,
    }


def _of_set(plan: Plan, convention: Mapping[str, str]) -> dict[str, str]:
    """Return a set's named convention; for samples from elsewhere without what it would have."""
    if not any(map(is_brought, plan.identities.values())):
        return dict(convention)
    return {key: value for key, value in convention.items() if key not in ("rewriting", "seeds")}


def deviation(plan: Plan, benchmarks: Sequence[Benchmark]) -> dict[str, str]:
    """Say where a benchmark is not run on its official prompts and number of samples."""
    said = [
        words
        for benchmark in benchmarks
        if (of := getattr(benchmark, "deviation", None)) is not None
        and (words := of(plan.prompts, plan.suite.prompts.samples_per_prompt))
    ]
    return {"deviation": "; ".join(said)} if said else {}


def _codec(plan: Plan) -> Any:
    """Return how samples were written; of those from elsewhere only the files' format is known."""
    found = {
        name: f"{UNKNOWN} ({' and '.join(i['formats'])} as brought)"
        if is_brought(i)
        else CODEC_ABOUT.get(str(i.get("codec")), CODEC)
        for name, i in plan.identities.items()
    }
    values = list(dict.fromkeys(found.values()))
    return values[0] if len(values) == 1 else found


def _negative_prompts(plan: Plan) -> list[str] | None:
    """Return what guided models were told to avoid; None where none was told anything."""
    told = {i.get("negative_prompt") for i in plan.identities.values() if not is_brought(i)}
    return sorted(text for text in told if text is not None) or None


def _steps(suite: Suite, name: str) -> Sequence[int]:
    return suite.models[name].steps or suite.steps


def _scorers(benchmarks: Sequence[Benchmark]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for benchmark in benchmarks:
        parts = [
            {"scorer": s.name, "version": s.version, "settings": s.settings()}
            for s in scorers_of(benchmark)
        ]
        if len(parts) == 1:
            found[benchmark.name] = parts[0]
        elif parts:
            settings = {str(part.pop("scorer")): part for part in parts}
            found[benchmark.name] = {"scorer": "several", "version": "", "settings": settings}
    return found


def _model(name: str, prepared: Prepared) -> dict[str, Any]:
    model, entry = prepared.models[name], prepared.loaded.suite.models[name]
    return {
        "role": entry.role,
        "kind": entry.kind,
        **entry.settings(),
        "sampler": entry.sampler,
        "digest": model.digest(),
        "card": model.card(),
    }
