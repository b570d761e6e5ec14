"""Reading a suite: find the file, follow ``extends``, put in variables, check every name."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcm_bench.errors import UserError, unknown, unknown_name
from rcm_bench.shipped import shipped
from rcm_bench.suite import SAMPLERS, Suite
from rcm_bench.suite_faults import validate
from rcm_bench.suite_yaml import Document, KeyPath, Origin, parse_scalar, read_yaml, spell

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedSuite:
    """A suite with everything resolved, and where each of its keys came from.

    Args:
        path: The file that was asked for.
        suite: The typed suite.
        data: The same as plain JSON data: what the manifest records.
        origins: File and line of each key.
    """

    path: Path
    suite: Suite
    data: dict[str, Any]
    origins: Mapping[KeyPath, Origin]

    def where(self, at: KeyPath) -> str:
        """Spell file and line of a key, or of the nearest key above it."""
        return _where(self.origins, at)

    def place(self, *at: str | int) -> str:
        """Spell file, line and key for a message."""
        return f"{self.where(at)}: {spell(at)}" if at else self.where(at)

    def folder(self, *at: str | int) -> Path:
        """Return the folder of the file that declares a key; relative paths start there."""
        return _origin(self.origins, at).file.parent


def find_suite(name: str) -> Path:
    """Return the file of a suite given as a path or as the name of a shipped one.

    Raises:
        UserError: There is no such file or no such shipped suite.
    """
    path, known = Path(name), _shipped_names()
    if path.suffix in (".yaml", ".yml") or path.name != name:
        if not path.is_file():
            raise UserError(f"{name}: no such file, and {unknown('suite', path.stem, known)}")
        return path
    if name not in known:
        raise unknown_name(name, "suite", name, known)
    return shipped("suites") / f"{name}.yaml"


def _shipped_names() -> list[str]:
    return sorted(path.stem for path in shipped("suites").glob("*.yaml"))


def load_suite(name: str, environment: Mapping[str, str] | None = None) -> LoadedSuite:
    """Read and check a suite.

    Args:
        name: A path, or the name of a shipped suite.
        environment: Where variables are looked up; the process environment by default.

    Raises:
        UserError: Anything in the suite is wrong; the message names file, line and key.
    """
    path = find_suite(name)
    document = _extended(path, ())
    values = _variables(document, os.environ if environment is None else environment)
    data = {
        key: value if key in ("variables", "extends") else _fill(value, (key,), document, values)
        for key, value in document.data.items()
    }
    data["variables"] = values
    origins = document.origins
    suite = validate(Suite, data, lambda at: _where(origins, at))
    suite = suite.model_copy(update={"samplers": _samplers(suite, origins)})
    loaded = LoadedSuite(
        path=path, suite=suite, data=suite.model_dump(mode="json"), origins=origins
    )
    _check_names(loaded)
    return loaded


def _samplers(suite: Suite, origins: Mapping[KeyPath, Origin]) -> dict[str, dict[str, Any]]:
    """Check each sampler by its kind and write out its defaults."""
    made = {}
    for name, settings in suite.samplers.items():
        at = ("samplers", name)
        kind = settings.get("kind")
        if not isinstance(kind, str) or kind not in SAMPLERS:
            where = f"{_where(origins, (*at, 'kind'))}: {spell((*at, 'kind'))}"
            raise unknown_name(where, "sampler kind", str(kind), SAMPLERS)
        entry = validate(SAMPLERS[kind], settings, lambda key: _where(origins, key), at)
        made[name] = entry.model_dump(mode="json")
    return made


def _extended(path: Path, chain: tuple[Path, ...]) -> Document:
    real = path.resolve()
    if real in chain:
        names = " -> ".join(step.name for step in (*chain, real))
        raise UserError(f"{path}: extends: a suite cannot extend itself ({names})")
    document = read_yaml(path)
    parent = document.data.get("extends")
    if parent is None:
        return document
    if not isinstance(parent, str):
        raise UserError(f"{_where(document.origins, ('extends',))}: extends: expected text")
    return _merge(_extended(_parent_path(parent, document, path), (*chain, real)), document)


def _parent_path(name: str, document: Document, path: Path) -> Path:
    if Path(name).name == name and not name.endswith((".yaml", ".yml")):
        beside = path.parent / f"{name}.yaml"
        if beside.is_file():
            return beside
        try:
            return find_suite(name)
        except UserError as fault:
            where = _where(document.origins, ("extends",))
            raise UserError(f"{where}: extends: {str(fault).partition(': ')[2]}") from None
    target = path.parent / name
    if not target.is_file():
        where = _where(document.origins, ("extends",))
        raise UserError(f"{where}: extends: {target}: no such file")
    return target


def _merge(base: Document, over: Document) -> Document:
    """Merge mappings deeply; lists and scalars are replaced whole."""
    origins = dict(base.origins)

    def merge(old: Any, new: Any, at: KeyPath) -> Any:
        if isinstance(old, dict) and isinstance(new, dict):
            merged = dict(old)
            for key, value in new.items():
                here = (*at, key)
                origins[here] = over.origins[here]
                merged[key] = merge(old[key], value, here) if key in old else value
                if not (isinstance(old.get(key), dict) and isinstance(value, dict)):
                    _replace_origins(origins, over.origins, here)
            return merged
        return new

    data = merge(base.data, over.data, ())
    origins[()] = over.origins[()]
    return Document(data, origins)


def _replace_origins(
    origins: dict[KeyPath, Origin], new: Mapping[KeyPath, Origin], at: KeyPath
) -> None:
    for old in [key for key in origins if key[: len(at)] == at]:
        del origins[old]
    origins.update({key: value for key, value in new.items() if key[: len(at)] == at})


def _variables(document: Document, environment: Mapping[str, str]) -> dict[str, Any]:
    declared = document.data.get("variables") or {}
    where = _where(document.origins, ("variables",))
    if not isinstance(declared, dict):
        raise UserError(f"{where}: variables: expected a mapping of names to defaults")
    values: dict[str, Any] = {}
    for name, entry in declared.items():
        at = f"{_where(document.origins, ('variables', name))}: variables.{name}"
        if not _NAME.fullmatch(name):
            raise UserError(f"{at}: expected a name of letters, digits and underscores")
        default = _default(entry, at)
        given = environment.get(name)
        if given is None and default is None:
            raise UserError(f"{at}: has no default; set it, as in: {name}=... rcm-bench run ...")
        values[name] = default if given is None else parse_scalar(given)
    return values


def _default(entry: Any, at: str) -> Any:
    if isinstance(entry, dict):
        for key in entry:
            if key not in ("default", "about"):
                raise unknown_name(at, "key", key, ["default", "about"])
        entry = entry.get("default")
    if isinstance(entry, list | dict):
        raise UserError(f"{at}: expected a plain value as default, got {entry!r}")
    return entry


def _fill(value: Any, at: KeyPath, document: Document, values: Mapping[str, Any]) -> Any:
    """Put variables into every text; a text that is one variable takes the variable's type."""
    if isinstance(value, dict):
        return {k: _fill(v, (*at, k), document, values) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, (*at, i), document, values) for i, v in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def look_up(match: re.Match[str]) -> Any:
        name = match.group(1)
        if name is None:
            return "${"
        if name not in values:
            where = f"{_where(document.origins, at)}: {spell(at)}"
            raise unknown_name(where, "variable", name, values)
        return values[name]

    whole = _VARIABLE.fullmatch(value)
    if whole and whole.group(1) is not None:
        return look_up(whole)
    return _VARIABLE.sub(lambda match: str(look_up(match)), value)


def _check_names(loaded: LoadedSuite) -> None:
    suite = loaded.suite
    for name, entry in suite.models.items():
        if entry.sampler not in suite.samplers:
            where = loaded.place("models", name, "sampler")
            raise unknown_name(where, "sampler", entry.sampler, suite.samplers)
        _check_steps(entry.steps, loaded, ("models", name, "steps"))
    _check_steps(suite.steps, loaded, ("steps",))
    teachers = [name for name, entry in suite.models.items() if entry.role == "teacher"]
    if len(teachers) != 1:
        got = ", ".join(teachers) or "none"
        where = loaded.place("models")
        raise UserError(f"{where}: expected exactly one model with 'role: teacher', got {got}")
    if (suite.prompts.set is None) == (suite.prompts.file is None):
        raise UserError(f"{loaded.place('prompts')}: expected exactly one of 'set' and 'file'")


def _check_steps(steps: list[int] | None, loaded: LoadedSuite, at: KeyPath) -> None:
    if steps is not None and len(set(steps)) != len(steps):
        raise UserError(f"{loaded.place(*at)}: expected each step count once, got {steps}")


def _origin(origins: Mapping[KeyPath, Origin], at: KeyPath) -> Origin:
    while at not in origins:
        at = at[:-1]
    return origins[at]


def _where(origins: Mapping[KeyPath, Origin], at: KeyPath) -> str:
    origin = _origin(origins, at)
    return f"{origin.file}:{origin.line}" if at else str(origin.file)
