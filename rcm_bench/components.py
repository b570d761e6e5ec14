"""Parts found by name: a file of our folders or an entry point; a suite never names code."""

import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from rcm_bench.errors import UserError, unknown_name

Folder = Literal["models", "benchmarks"]
_CLASSES = {"models": "Model", "benchmarks": "Benchmark"}


def available(folder: Folder) -> dict[str, EntryPoint | None]:
    """List the names in a folder: file stems (None) and entry points of ``rcm_bench.<folder>``.

    A file of ours wins over an entry point of the same name.
    """
    names: dict[str, EntryPoint | None] = {
        point.name: point for point in entry_points(group=f"rcm_bench.{folder}")
    }
    package = importlib.import_module(f"rcm_bench.{folder}")
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            names[module.name] = None
    return names


def find(folder: Folder, what: str, name: str, where: str) -> Any:
    """Return the class that a name stands for.

    Args:
        folder: Which folder of rcm_bench.
        what: What the name is, for the message, such as ``"benchmark"``.
        name: File stem or entry point.
        where: File, line and key of the name.

    Raises:
        UserError: There is no such name, or the plug-in cannot be loaded.
    """
    known = available(folder)
    if name not in known:
        raise unknown_name(where, what, name, known)
    point = known[name]
    try:
        if point is not None:
            return point.load()
        module = importlib.import_module(f"rcm_bench.{folder}.{name}")
        return getattr(module, _CLASSES[folder], None)
    except ImportError as fault:
        raise UserError(f"{where}: {what} '{name}' cannot be loaded: {fault}") from None
