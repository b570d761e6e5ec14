"""Whether two numbers may stand in one column, part by part of the protocol, in words."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from rcm_bench.canonical import canonical_json
from rcm_bench.conditions import HasConditions
from rcm_bench.evidence import Evidence
from rcm_bench.unrecorded import holds_unknown

Effect = Literal["incomparable", "not verified", "narrowed", "compared", "harmless"]
"""What a difference does: forbids a comparison of the numbers; leaves open whether it does; leaves
only the common prompts; is itself what is compared; changes nothing beyond rounding."""

FIXED = {
    "rewriting": "the models were given other words",
    "negative_prompt": "the models were told to avoid other things",
    "failures": "a failed sample counts for something else",
    "codec": "the scorer saw other pixels",
    "frames": "the scorer saw other lengths",
    "fps": "the scorer saw other speeds",
    "aggregation": "the same scores give another number",
}
"""Parts of the protocol that every benchmark fixes, and what follows where they differ."""
FREE = {
    "name": "a label",
    "seeds": "other noise, drawn by the same law",
    "noise": "other noise, drawn by the same law",
    "population": "values are the same, intervals speak of the later run's population",
}
"""Parts that no benchmark fixes: pairs are made by prompt, never by seed."""
BY_MODEL = ("steps", "samplers", "resolution", "dtype")
"""Parts that are compared model by model."""
NEEDS_RESOLUTION = ("detail",)
"""Benchmarks whose unit depends on the number of pixels."""
NOBODY = "nobody recorded it; whether it was the same is not known"
"""Why a part leaves a comparison open where samples or scores were made elsewhere."""
_OWN = ("prompts", "scorers", "benchmarks", *BY_MODEL)
SAMPLES = "samples per prompt"
_ABSENT = object()
_MAX_SHOWN = 60
_SHORT_DIGEST = 12
_DIGEST = re.compile("[0-9a-f]{64}")


class Difference(NamedTuple):
    """One thing that differs between two sides.

    Attributes:
        benchmark: The benchmark that it concerns; None for all of them.
        part: Which part, such as ``"scorer version"``.
        first: What the first side has.
        other: What the other side has.
        effect: What the difference does to a comparison.
        why: The same in words.
    """

    benchmark: str | None
    part: str
    first: str
    other: str
    effect: Effect
    why: str


def differences(first: HasConditions, other: HasConditions) -> list[Difference]:
    """List what differs between the protocols of two sides, the gravest first.

    Models and samplers are not part of it: `model_differences` compares those, pair by pair.
    """
    found = [*_prompts(first, other), *_parts(first, other), *_benchmarks(first, other)]
    found += _circumstances(first, other)
    order = ("incomparable", "not verified", "narrowed", "compared", "harmless")
    return sorted(found, key=lambda d: order.index(d.effect))


def obstacles(found: list[Difference], benchmark: str) -> list[Difference]:
    """Return the differences that forbid to compare numbers of a benchmark."""
    return [d for d in found if d.effect == "incomparable" and d.benchmark in (None, benchmark)]


def doubts(found: list[Difference], benchmark: str) -> list[Difference]:
    """Return the differences that leave open whether numbers of a benchmark can be compared."""
    return [d for d in found if d.effect == "not verified" and d.benchmark in (None, benchmark)]


def model_differences(
    first: Evidence, first_model: str, other: Evidence, other_model: str
) -> list[Difference]:
    """List what differs between two models: weights, sampler, size, number format.

    That is what a comparison measures; only a resolution can make a unit another one.
    """
    a, b = first.models[first_model], other.models[other_model]
    sides = ({"sampler": a["sampler"], **a["identity"]}, {"sampler": b["sampler"], **b["identity"]})
    found = [d for d in _unrecorded(*sides) if d.part in ("sampler", "dtype")]
    for part, (one, two) in _unequal(*sides):
        found.append(
            Difference(None, part, one, two, "compared", "what the difference is measured for")
        )
        if part == "resolution":
            for benchmark in NEEDS_RESOLUTION:
                why = "its unit depends on the number of pixels"
                found.append(Difference(benchmark, part, one, two, "incomparable", why))
    return found


def _prompts(first: HasConditions, other: HasConditions) -> Iterator[Difference]:
    a, b = set(first.prompts.values()), set(other.prompts.values())
    if a != b:
        shared = len(a & b)
        yield Difference(
            *(None, "prompts", f"{len(a)} prompts", f"{len(b)} prompts"),
            *(
                ("narrowed", f"only the {shared} that both have are compared")
                if shared
                else ("incomparable", "they have no prompt in common")
            ),
        )
    counts = tuple(e.protocol.get("prompts", {}).get("samples_per_prompt") for e in (first, other))
    if counts[0] != counts[1]:
        yield Difference(
            *(None, SAMPLES, _show(counts[0]), _show(counts[1]), "harmless"),
            "more samples are more precise, with the same expectation",
        )


def _parts(first: HasConditions, other: HasConditions) -> Iterator[Difference]:
    sides = [{k: v for k, v in e.protocol.items() if k not in _OWN} for e in (first, other)]
    doubtful = list(_unrecorded(sides[0], sides[1]))
    yield from doubtful
    for part, (one, two) in _unequal(*sides):
        if part in {d.part for d in doubtful}:
            continue
        effect: Effect = "not verified"
        why = "this version does not know what it does to a score"
        if any(part not in side for side in sides):
            why = "one side does not say"
        elif part in FIXED:
            effect, why = "incomparable", FIXED[part]
        elif part in FREE:
            effect, why = "harmless", FREE[part]
        yield Difference(None, part, one, two, effect, why)


def _unrecorded(
    first: Mapping[str, Any], other: Mapping[str, Any], benchmark: str | None = None
) -> Iterator[Difference]:
    """Yield the parts that one side has from elsewhere: equal words are no evidence there."""
    for part in {**first, **other}:
        one, two = first.get(part, _ABSENT), other.get(part, _ABSENT)
        if holds_unknown(one) or holds_unknown(two):
            yield Difference(benchmark, part, _show(one), _show(two), "not verified", NOBODY)


def _benchmarks(first: HasConditions, other: HasConditions) -> Iterator[Difference]:
    for name in first.protocol.get("benchmarks", {}):
        if name not in other.protocol.get("benchmarks", {}):
            continue
        sides = [_benchmark(e.protocol, name) for e in (first, other)]
        doubtful = list(_unrecorded(sides[0], sides[1], name))
        yield from doubtful
        for part, (one, two) in _unequal(*sides):
            if part in {d.part for d in doubtful}:
                continue
            effect: Effect = "incomparable"
            why = "another scorer may give the same sample another score"
            if any(part not in side for side in sides):
                effect, why = "not verified", "one side does not say"
            yield Difference(name, part, one, two, effect, why)


def _benchmark(protocol: Mapping[str, Any], name: str) -> dict[str, Any]:
    scorer = protocol.get("scorers", {}).get(name, {})
    named = {"scorer": "scorer", "version": "scorer version", "settings": "scorer settings"}
    return {
        **{title: scorer[key] for key, title in named.items() if key in scorer},
        "settings": protocol["benchmarks"][name],
    }


def _circumstances(first: HasConditions, other: HasConditions) -> Iterator[Difference]:
    for part, (one, two) in _unequal(first.circumstances, other.circumstances):
        yield Difference(
            None, part, one, two, "harmless", "equal up to rounding; times are not compared"
        )


def _unequal(
    first: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield what differs between two mappings, with both values spelled."""
    for part in {**first, **other}:
        one, two = first.get(part, _ABSENT), other.get(part, _ABSENT)
        if one is not two and (_ABSENT in (one, two) or canonical_json(one) != canonical_json(two)):
            yield part, _spell_pair(one, two)


def _spell_pair(one: Any, two: Any) -> tuple[str, str]:
    """Spell two values; of two mappings only what differs."""
    if isinstance(one, dict) and isinstance(two, dict):
        inner = dict(_unequal(one, two))
        if "kind" in inner:  # of two kinds, nothing else can be compared
            inner = {"kind": inner["kind"]}
        return tuple(  # type: ignore[return-value]
            _cut(", ".join(f"{part} {pair[side]}" for part, pair in inner.items()))
            for side in (0, 1)
        )
    return _show(one), _show(two)


def _show(value: Any) -> str:
    if value is _ABSENT:
        return "not recorded"
    text = value if isinstance(value, str) else canonical_json(value)
    return text[:_SHORT_DIGEST] if _DIGEST.fullmatch(text) else _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."
