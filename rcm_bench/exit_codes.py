"""From what went wrong to an exit code and one message."""

import errno
import os
import tempfile
import traceback
from typing import NamedTuple

from rcm_bench.errors import UserError

DONE = 0
FAILED = 1
USER = 2
INCONCLUSIVE = 3
INCOMPLETE = 4
OURS = 70
INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Explanation(NamedTuple):
    """What the command line says and returns."""

    code: int
    message: str


def explain(fault: BaseException) -> Explanation:
    """Say what went wrong; a traceback goes into a file, and only if the fault is ours."""
    if isinstance(fault, UserError):
        return Explanation(fault.exit_code, f"error: {fault}")
    if isinstance(fault, KeyboardInterrupt):
        return Explanation(
            INTERRUPTED, "interrupted; nothing sampled is lost: run the same command again to go on"
        )
    if isinstance(fault, OSError) and fault.errno in _FULL:
        where = f" while writing {fault.filename}" if fault.filename else ""
        return Explanation(
            OURS,
            f"error: the disk is full{where}; nothing sampled is lost: free some space and run "
            "the same command again",
        )
    return Explanation(
        OURS, f"error: {_first_line(fault)}\nThis is a fault of rcm_bench. {_log(fault)}"
    )


def _first_line(fault: BaseException) -> str:
    text = str(fault).strip()
    name = type(fault).__name__
    return f"{name}: {text.splitlines()[0]}" if text else name


def _log(fault: BaseException) -> str:
    try:
        handle, path = tempfile.mkstemp(prefix="rcm_bench-", suffix=".log", text=True)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(fault))
    except OSError as other:
        return f"Its traceback could not be written ({other.strerror})."
    return f"Its traceback is in {path}"
