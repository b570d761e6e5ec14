"""From what pydantic finds wrong to one message: file, line, key, expected, got, nearest match."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Tag, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from rcm_bench.errors import UserError, unknown
from rcm_bench.suite_yaml import KeyPath, spell

T = TypeVar("T")
_MAX_SHOWN = 60


def validate(kind: type[T], data: Any, where: Callable[[KeyPath], str], at: KeyPath = ()) -> T:
    """Make a value of ``kind`` from plain data.

    Args:
        kind: A pydantic model or a dataclass.
        data: Plain data from YAML.
        where: Gives file and line for a key path.
        at: Key path of ``data`` in the suite.

    Raises:
        UserError: One line for every fault.
    """
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as fault:
        lines = [_line(kind, error, where, at) for error in fault.errors(include_url=False)]
        raise UserError("\n".join(lines)) from None


def _line(kind: Any, error: ErrorDetails, where: Callable[[KeyPath], str], at: KeyPath) -> str:
    loc = tuple(error["loc"])
    inner, _ = _walk(kind, loc)
    key = str(inner[-1]) if inner else ""
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys_of(_walk(kind, loc[:-1])[1])
        return f"{_place(where, (*at, *inner[:-1]))}: {unknown('key', key, known)}"
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{_place(where, (*at, *inner[:-1]))}: key '{key}' is missing"
    if error["type"] == "value_error":  # a check of ours, in our own words
        return f"{_place(where, (*at, *inner))}: {error['ctx']['error']}"
    return f"{_place(where, (*at, *inner))}: {_expectation(error)}, got {_show(error['input'])}"


def _place(where: Callable[[KeyPath], str], at: KeyPath) -> str:
    return f"{where(at)}: {spell(at)}" if at else where(at)


def _expectation(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    bounds = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    for name, sign in bounds.items():
        if name in context:
            return f"expected a number {sign} {context[name]}"
    kinds = {
        "literal_error": f"expected {context.get('expected')}",
        "int_type": "expected an integer",
        "float_type": "expected a number",
        "string_type": "expected text",
        "bool_type": "expected true or false",
        "list_type": "expected a list",
        "dict_type": "expected a mapping",
        "model_type": "expected a mapping",
        "model_attributes_type": "expected a mapping",
        "dataclass_type": "expected a mapping",
        "too_short": f"expected at least {context.get('min_length')} entry",
        "string_too_short": "expected text that is not empty",
        "string_too_long": f"expected at most {context.get('max_length')} characters",
    }
    return kinds.get(error["type"], error["msg"])


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _walk(kind: Any, path: KeyPath) -> tuple[KeyPath, Any]:
    """Follow a key path through the annotations of nested models.

    Returns:
        The path without what pydantic adds to tell the choices of a tagged union apart, and the
        annotation at its end.
    """
    spoken: list[str | int] = []
    for part in path:
        branch = _branches(kind).get(part)
        if branch is None:
            spoken.append(part)
        kind = _below(kind, part) if branch is None else branch
    return tuple(spoken), _without_none(kind)


def _below(kind: Any, part: str | int) -> Any:
    kind = _without_none(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        return field.annotation if field else None
    if is_dataclass(kind):
        return {field.name: field.type for field in fields(kind)}.get(str(part))
    return get_args(kind)[-1] if get_origin(kind) in (dict, list) else kind


def _branches(kind: Any) -> dict[str | int, Any]:
    """Return the choices of a tagged union by tag; none for anything else."""
    union = get_args(kind)[0] if get_origin(kind) is Annotated else None
    if get_origin(union) not in (Union, UnionType):
        return {}
    tagged = ((choice, mark) for choice in get_args(union) for mark in get_args(choice)[1:])
    return {mark.tag: get_args(c)[0] for c, mark in tagged if isinstance(mark, Tag)}


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        rest = [choice for choice in get_args(kind) if choice is not type(None)]
        return rest[0] if rest else kind
    return kind


def _keys_of(kind: Any) -> list[str]:
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    return list(getattr(kind, "model_fields", {}))
