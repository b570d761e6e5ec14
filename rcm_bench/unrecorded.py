"""What nobody recorded of samples that were made elsewhere: shown as unknown, never filled in."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rcm_bench.planning import Plan

UNKNOWN = "not recorded"
"""Stands in a protocol, an identity, or for a sampler, where nobody knows."""
KINDS = ("folder", "results")
"""Model kinds whose samples or scores come from elsewhere."""
ELSEWHERE = "elsewhere"
"""Kind of a sampler that did not run here; it can be described, and is unknown where it is not."""
NO_SEED = -1
"""Seed of a work item whose sample was made elsewhere."""
PARTS = {
    "seeds": "seeds",
    "noise": "noise",
    "rewriting": "rewriting of prompts",
    "negative_prompt": "negative prompt",
    "dtype": "number format",
}
"""Parts of the protocol that a folder of samples cannot show, with their names for people."""


class Gap(NamedTuple):
    """What is not known of one model.

    Attributes:
        model: Name of the model.
        parts: What nobody recorded, in words.
    """

    model: str
    parts: tuple[str, ...]


def is_brought(identity: Mapping[str, Any]) -> bool:
    """Say of a model's identity whether its samples were made elsewhere."""
    return identity.get("kind") in KINDS


def without_sampler(data: Any) -> Any:
    """Give models from elsewhere the unknown sampler where a suite names none for them.

    Args:
        data: A suite as plain data, of any shape.
    """
    models = data.get("models") if isinstance(data, dict) else None
    if not isinstance(models, dict):
        return data
    bare = {
        name: {**entry, "sampler": UNKNOWN}
        for name, entry in models.items()
        if isinstance(entry, dict) and entry.get("kind") in KINDS and "sampler" not in entry
    }
    own = data.get("samplers", {})
    if not bare or not isinstance(own, dict):
        return data
    samplers = {**own, UNKNOWN: {"kind": ELSEWHERE}}
    return {**data, "models": {**models, **bare}, "samplers": samplers}


def stated(identities: Mapping[str, Mapping[str, Any]], part: str, own: Any) -> Any:
    """Return a part of the protocol: what the suite says, and what is recorded of each folder.

    Args:
        identities: What decides the samples of each model.
        part: Which part, a key of `PARTS`.
        own: What holds for models that are sampled here.

    Returns:
        One value where all models have the same, else one for each model.
    """
    found = {
        name: identity.get("recorded", {}).get(part, UNKNOWN) if is_brought(identity) else own
        for name, identity in identities.items()
    }
    values = list(found.values())
    return values[0] if all(value == values[0] for value in values) else found


def holds_unknown(value: Any) -> bool:
    """Say whether a part of a protocol says of itself, or within, that nobody recorded it."""
    if isinstance(value, Mapping):
        return any(map(holds_unknown, value.values()))
    if isinstance(value, list | tuple):
        return any(map(holds_unknown, value))
    return isinstance(value, str) and value.startswith(UNKNOWN)


def gaps(plan: "Plan") -> list[Gap]:
    """Return what is not known of each model that was made elsewhere."""
    from rcm_bench.bring.scored import scorer_is_unknown

    found = []
    for name, identity in plan.identities.items():
        if not is_brought(identity):
            continue
        sampler = plan.suite.samplers[plan.suite.models[name].sampler]
        said = ["sampler and guidance"] if holds_unknown(sampler) else []
        recorded = identity.get("recorded", {})
        said += [text for part, text in PARTS.items() if recorded.get(part, UNKNOWN) == UNKNOWN]
        if identity["kind"] == "results" and scorer_is_unknown(plan.suite.benchmarks):
            said.append("scorer")
        found.append(Gap(name, tuple(said)))
    return found


def remarks(plan: "Plan") -> list[str]:
    """Say in sentences what a reader must know of models that were made elsewhere."""
    found = gaps(plan)
    if not found:
        return []
    by_parts: dict[tuple[str, ...], list[str]] = {}
    for gap in found:
        by_parts.setdefault(gap.parts, []).append(gap.model)
    said = [
        f"Not verified: nobody recorded {_listed(parts)} of {_listed(models)}; whether they were "
        "sampled under the same protocol as what they are compared with is not known."
        for parts, models in by_parts.items()
        if parts
    ]
    for name, identity in plan.identities.items():
        for steps, texts in identity.get("remarks", {}).items() if is_brought(identity) else ():
            said += [f"{name} at {steps} steps, as brought: {text}." for text in texts]
    said += _twice(plan)
    names = _listed([gap.model for gap in found])
    return [*said, f"Times and network evaluations of {names} are not known: they were not "
            "sampled here."]  # fmt: skip


def _twice(plan: "Plan") -> list[str]:
    """Say where the very same files were brought twice: most likely one path too many is wrong."""
    by_files: dict[str, list[str]] = {}
    for name, identity in plan.identities.items():
        for steps, files in identity.get("files", {}).items() if is_brought(identity) else ():
            by_files.setdefault(str(files), []).append(
                f"{name} at {steps} step{'s' * (steps != '1')}"
            )
    alike = [names for names in by_files.values() if len(names) > 1]
    return [f"{_listed(names)} are the very same files: what was brought twice?" for names in alike]


def unverified(plan: "Plan") -> set[str]:
    """Return the models whose protocol is not wholly known."""
    return {gap.model for gap in gaps(plan) if gap.parts}


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
