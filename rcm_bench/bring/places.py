"""Where brought files lie: one path for each number of steps."""

from collections.abc import Sequence
from pathlib import Path

from rcm_bench.bring.files import shown
from rcm_bench.errors import UserError

MARK = "{steps}"


def find_paths(pattern: str, steps: Sequence[int], folder: Path, place: str) -> dict[int, Path]:
    """Return the file or folder of each number of steps.

    Args:
        pattern: A path; ``{steps}`` in it stands for the number of steps. Relative to the suite's
            folder or to the working folder.
        steps: The step counts.
        folder: Folder of the suite.
        place: File, line and key, for messages.

    Raises:
        UserError: Several numbers of steps share a path, or there is nothing at one.
    """
    if len(steps) > 1 and MARK not in pattern:
        raise UserError(
            f"{place}: expected '{MARK}' in the path, since there are {len(steps)} numbers of "
            f"steps ({', '.join(map(str, steps))}), got '{shown(pattern)}'"
        )
    found, faults = {}, []
    for count in steps:
        name = pattern.replace(MARK, str(count))
        path = next((p for p in (folder / name, Path(name)) if p.exists()), None)
        if path is None:
            where = "" if Path(name).is_absolute() else f", neither in {folder} nor in {Path.cwd()}"
            faults.append(f"{place}: {shown(name)}: no such file or folder{where}")
        else:
            found[count] = path
    if faults:
        raise UserError("\n".join(faults))
    return found
