"""How long parts of a device's work take, without a wait between them."""

import time
from typing import Any

import torch


class Marks:
    """The ends of parts that follow each other, from now on.

    A GPU is not waited for: it notes the times itself, so that the next part's work is handed to it
    while it is still busy with the last.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._names: list[str] = []
        self._times: list[Any] = [self._now()]

    def end(self, name: str) -> None:
        """Mark the end of a part."""
        self._names.append(name)
        self._times.append(self._now())

    def seconds(self) -> dict[str, float]:
        """Return seconds by part, once a GPU has come to the last mark."""
        if self._cuda:
            self._times[-1].synchronize()
        return {
            name: first.elapsed_time(last) / 1000 if self._cuda else last - first
            for name, first, last in zip(self._names, self._times, self._times[1:], strict=False)
        }

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        kind: Any = torch.cuda.Event
        event = kind(enable_timing=True)
        event.record()
        return event
