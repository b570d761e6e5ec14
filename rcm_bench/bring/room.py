"""How much memory files that are read side by side may take together."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Room:
    """Bytes that may be taken at one time; who needs more than all waits until nobody has any.

    Args:
        num_bytes: All of them.
    """

    def __init__(self, num_bytes: int) -> None:
        self._all, self._taken = num_bytes, 0
        self._changed = Condition()

    @contextmanager
    def taken(self, num_bytes: int) -> Iterator[None]:
        """Hold bytes for as long as the block runs, once they are free."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + num_bytes <= self._all)
            self._taken += num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._taken -= num_bytes
                self._changed.notify_all()
