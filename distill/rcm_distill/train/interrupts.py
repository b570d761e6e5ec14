"""Signals that ask a training to stop: held back until its state can be saved."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Catches the first SIGINT or SIGTERM; a second one acts as if nothing had been held back.

    Outside the main thread, where Python delivers no signals, nothing is caught.
    """

    def __init__(self) -> None:
        """Catch nothing yet."""
        self.caught: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._catch) for each in STOPPING}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hand the signals back."""
        self._hand_back()

    def deliver(self) -> None:
        """Let the caught signal do what it would have done; SIGINT raises KeyboardInterrupt."""
        self._hand_back()
        if self.caught is not None:
            signal.raise_signal(self.caught)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.caught = signal.Signals(number)
        self._hand_back()

    def _hand_back(self) -> None:
        for each, handler in self._before.items():
            # None: installed by something other than Python, which cannot be put back.
            signal.signal(each, signal.SIG_DFL if handler is None else handler)
        self._before = {}
