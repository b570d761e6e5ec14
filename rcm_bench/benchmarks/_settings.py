"""A suite's mapping read strictly into the frozen dataclass of a benchmark."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from rcm_bench.errors import UserError, unknown_name

T = TypeVar("T")


def parse(benchmark: type[T], settings: Mapping[str, Any] | None, where: str) -> T:
    """Make a benchmark of its settings.

    Args:
        benchmark: A class `Benchmark`.
        settings: Its keys in the suite; None for none.
        where: File and key, such as ``"suites/x.yaml: benchmarks.geneval"``.

    Raises:
        UserError: A key does not exist, or a value is not one of those that are allowed.
    """
    known = [field.name for field in fields(benchmark)]  # type: ignore[arg-type]
    hints = get_type_hints(benchmark)
    for key, value in (settings or {}).items():
        if key not in known and not known:
            raise UserError(f"{where}: unknown key '{key}'. This benchmark has no settings.")
        if key not in known:
            raise unknown_name(where, "key", str(key), known)
        if get_origin(hints[key]) is Literal and value not in get_args(hints[key]):
            raise unknown_name(f"{where}.{key}", key, str(value), map(str, get_args(hints[key])))
    return benchmark(**(settings or {}))
