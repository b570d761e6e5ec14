"""How the commands of a study end: by exceptions, so that trainings are stopped and packed too."""

import signal
import sys
from collections.abc import Callable, Sequence


def run_command(main: Callable[[Sequence[str]], int]) -> None:
    """Run a command on this process's arguments, and exit with its code.

    SIGTERM ends it by an exception: what it has started is stopped as at the end of a session.
    """
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main(sys.argv[1:]))


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)
