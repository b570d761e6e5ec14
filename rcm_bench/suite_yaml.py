"""YAML of suites: plain data only, every key once, no aliases, and the line of every key."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rcm_bench.errors import UserError
from rcm_bench.text_files import read_text

MAX_BYTES = 1 << 20
KeyPath = tuple[str | int, ...]


class Origin(NamedTuple):
    """Where a key stands."""

    file: Path
    line: int


class Document(NamedTuple):
    """A YAML mapping and the origin of each of its keys."""

    data: dict[str, Any]
    origins: dict[KeyPath, Origin]


class _Loader(yaml.SafeLoader):
    """The safe loader without aliases and without dates."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not allowed in suites; use 'extends' instead",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> Document:
    """Read a YAML file whose top is a mapping.

    Raises:
        UserError: The file is missing, too large, not UTF-8, not YAML, uses aliases or tags, or
            holds a key twice.
    """
    text = read_text(path, max_bytes=MAX_BYTES)
    try:
        loader = _Loader(text)
    except yaml.YAMLError as fault:  # a character that YAML does not allow
        raise UserError(_spell(path, fault)) from None
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"{path}: expected a mapping of suite keys at the top of the file")
        origins: dict[KeyPath, Origin] = {(): Origin(path, 1)}
        _scan(node, (), path, origins)
        data = loader.construct_document(node)
    except yaml.YAMLError as fault:
        raise UserError(_spell(path, fault)) from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply for a suite") from None
    finally:
        loader.dispose()
    return Document(data, origins)


def parse_scalar(text: str) -> Any:
    """Read a plain scalar the way YAML does; anything that is no scalar stays text."""
    try:
        value = yaml.load(text, Loader=_Loader)  # a SafeLoader without aliases
    except yaml.YAMLError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def _scan(node: yaml.Node, at: KeyPath, path: Path, origins: dict[KeyPath, Origin]) -> None:
    """Record the line of every key and refuse keys that are no text or come twice."""
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            origins[*at, index] = Origin(path, child.start_mark.line + 1)
            _scan(child, (*at, index), path, origins)
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            line = key.start_mark.line + 1
            where = f"{path}:{line}: {spell(at)}"
            if key.tag != "tag:yaml.org,2002:str":
                got = key.value if isinstance(key, yaml.ScalarNode) else "a collection"
                raise UserError(f"{where}: expected text as a key, got {got}; put it in quotes")
            here = (*at, key.value)
            if here in origins:
                first = origins[here].line
                raise UserError(f"{where}: key '{key.value}' stands here and on line {first}")
            origins[here] = Origin(path, line)
            _scan(child, here, path, origins)


def spell(at: KeyPath) -> str:
    """Spell a key path as people write it: ``models.rcm.steps[0]``."""
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "top level"


def _spell(path: Path, fault: yaml.YAMLError) -> str:
    mark = getattr(fault, "problem_mark", None)
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    problem = getattr(fault, "problem", None) or str(fault).splitlines()[0]
    return f"{where}: not valid YAML for a suite: {problem}"
