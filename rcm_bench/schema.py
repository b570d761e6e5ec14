"""The JSON Schema of suites, for editors: keys, kinds and settings of all that is shipped."""

import json
from importlib import import_module
from typing import Any

from pydantic import TypeAdapter

from rcm_bench.components import available
from rcm_bench.suite import SAMPLERS, Suite

_VARIABLE = {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$"}


def suite_schema() -> dict[str, Any]:
    """Return the schema; plug-ins are not part of it, any further model kind is allowed."""
    schema = Suite.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    properties = schema["properties"]
    kinds = [name for name, point in available("models").items() if point is None]
    entry = schema["$defs"]["ModelEntry"]
    entry["allOf"] = [_when_kind(name, _settings(name)) for name in sorted(kinds)]
    properties["samplers"]["additionalProperties"] = {
        "anyOf": [_partial(TypeAdapter(kind).json_schema()) for kind in SAMPLERS.values()]
    }
    properties["benchmarks"] = _benchmarks(properties["benchmarks"])
    # A suite that extends another may leave out whatever the other has.
    schema["if"] = {"required": ["extends"]}
    schema["else"] = {"required": schema.pop("required")}
    schema["$defs"] = {name: _partial(part) for name, part in schema["$defs"].items()}
    _allow_variables(schema)
    return schema


def _settings(kind: str) -> dict[str, Any]:
    model: Any = import_module(f"rcm_bench.models.{kind}").Model
    settings: dict[str, Any] = model.Settings.model_json_schema()
    return settings


def _partial(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "required"}


def _when_kind(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    matches = {"properties": {"kind": {"const": kind}}, "required": ["kind"]}
    return {"if": matches, "then": {"properties": settings["properties"]}}


def _benchmarks(generic: dict[str, Any]) -> dict[str, Any]:
    names = [name for name, point in available("benchmarks").items() if point is None]
    known = {}
    for name in sorted(names):
        settings: Any = import_module(f"rcm_bench.benchmarks.{name}").Benchmark
        found = TypeAdapter(settings).json_schema() | {"additionalProperties": False}
        known[name] = {"anyOf": [found, {"type": "null"}]}
    return {**generic, "properties": known, "minProperties": 1}


def _allow_variables(node: Any) -> None:
    """Let ``${NAME}`` stand wherever a number is expected."""
    if isinstance(node, dict):
        for value in node.values():
            _allow_variables(value)
        if node.get("type") in ("integer", "number"):
            number = {
                key: node.pop(key)
                for key in ("type", "minimum", "exclusiveMinimum", "maximum")
                if key in node
            }
            node["anyOf"] = [number, _VARIABLE]
    elif isinstance(node, list):
        for value in node:
            _allow_variables(value)


def schema_text() -> str:
    """Return the schema as it stands in ``suites/schema.json``."""
    return json.dumps(suite_schema(), indent=1, sort_keys=True) + "\n"
