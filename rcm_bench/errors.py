"""Faults that are the user's to mend: one clear message, no traceback, exit code 2."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A fault in what the user gave: a suite, a name, a file, a path.

    The message names the file and the key, what was expected, what came, and the nearest match.
    """

    exit_code = 2


class MissingError(UserError):
    """Something has to be brought to this machine first; what the user wrote may be right.

    ``plan`` lists what is missing; every other fault of the user's ends it.
    """


def check_all(checks: Iterable[Callable[[], object]]) -> None:
    """Run all checks, so that no fault is hidden behind another or behind what is missing.

    Raises:
        UserError: Something is wrong; a line for each fault, then for all that is missing.
        MissingError: Nothing else is wrong; a line for all that is missing.
    """
    faults, missing = [], []
    for check in checks:
        try:
            check()
        except MissingError as lack:
            missing.append(str(lack))
        except UserError as fault:
            faults.append(str(fault))
    if faults or missing:
        kind = UserError if faults else MissingError
        raise kind("\n".join(dict.fromkeys([*faults, *missing])))


def unknown(what: str, got: str, known: Iterable[str]) -> str:
    """Say that a name does not exist, which names do, and which is the nearest."""
    choices = sorted(known)
    nearest = get_close_matches(got, choices, n=1)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return f"unknown {what} '{got}'. Available: {', '.join(choices) or 'none'}.{hint}"


def unknown_name(where: str, what: str, got: str, known: Iterable[str]) -> UserError:
    """Build the error for a name that does not exist.

    Args:
        where: File and key, such as ``"suites/x.yaml: models.rcm.kind"``.
        what: What the name should have been, such as ``"model kind"``.
        got: The name that came.
        known: The names that exist.

    Returns:
        An error that lists the choices and suggests the nearest one.
    """
    return UserError(f"{where}: {unknown(what, got, known)}")
