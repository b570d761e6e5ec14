"""Whether a student is of this network: its family, its size, each key, its configuration.

What is wrong as a whole is said as a whole, before hundreds of keys are listed.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rcm_bench.checkpoints.fit import Shapes, check_fit
from rcm_bench.checkpoints.second_time import check_told
from rcm_bench.diffusion.families import COSMOS, WAN, Family
from rcm_bench.diffusion.source import read_json
from rcm_bench.errors import UserError

_BLOCK = re.compile(r"(?:blocks|transformer_blocks)\.(\d+)\.")
_OUT = "proj_out.weight"  # (channels of a patch, width) in both families


class Size(NamedTuple):
    """Blocks and width of a network."""

    blocks: int
    width: int | None


def check_student(
    shapes: Shapes, expected: Shapes, family: Family, second_time: str | None, where: str
) -> None:
    """Compare a student with the network that it is to replace.

    Args:
        shapes: Its shapes by diffusers' name.
        expected: Shapes of the network.
        family: Family of the network.
        second_time: What the suite says that a second time embedding sees.
        where: Place and file, for the message.

    Raises:
        UserError: It is of another family or size, or lists missing, unexpected, misshapen keys.
    """
    for other in (WAN, COSMOS):
        if other != family and _of(other, shapes) and not _of(family, shapes):
            raise UserError(
                f"{where}: expected a network of {family.title}, got one of {other.title} "
                f"({len(shapes)} tensors)"
            )
    here, there = size_of(expected), size_of(shapes)
    known = [n for n in zip(here, there, strict=True) if all(n)]
    if _of(family, shapes) and any(ours != theirs for ours, theirs in known):
        raise UserError(
            f"{where}: expected a network of {_spell(here)}, got one of {_spell(there)}; a student "
            "of another size than the folder's says which by 'architecture' "
            f"({', '.join(family.architectures)})"
        )
    check_told(shapes, second_time, where)
    check_fit(expected, shapes, where)


def size_of(shapes: Mapping[str, Sequence[int]]) -> Size:
    """Return blocks and width of a network by diffusers' names; no width where it is not there.

    A stray tensor makes no block: it has at least half as many as the fullest.
    """
    counts = Counter(match[1] for name in shapes if (match := _BLOCK.match(name)))
    blocks = sum(2 * count >= max(counts.values()) for count in counts.values())
    out = shapes.get(_OUT)
    return Size(blocks, int(out[1]) if out is not None and len(out) == 2 else None)


def _spell(size: Size) -> str:
    return f"{size.blocks} blocks of width {size.width or 'unknown'}"


def _of(family: Family, shapes: Shapes) -> bool:
    """Say whether names are of a family, by the module that embeds its time."""
    return any(name.startswith(f"{family.time_embedding}.") for name in shapes)


def check_config(folder: Path, config: Mapping[str, Any], place: str) -> None:
    """Refuse a student's folder whose configuration is another than the network's.

    Weights can fit and still mean something else: two heads of 16 have the shapes of four of 8.

    Args:
        folder: The student's folder; one without a configuration says nothing.
        config: The network's configuration.
        place: File, line and key, for messages.

    Raises:
        UserError: Lists the keys that differ.
    """
    if not (folder / "config.json").is_file():
        return
    own = read_json(folder / "config.json", place.rpartition(".")[0])
    differ = [
        f"{key} {own[key]} (expected {config[key]})"
        for key in sorted(set(own) & set(config))
        if not key.startswith("_") and _plain(own[key]) != _plain(config[key])
    ]
    if differ:
        raise UserError(f"{place}: {folder / 'config.json'}: another network: {', '.join(differ)}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
