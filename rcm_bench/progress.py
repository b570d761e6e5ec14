"""Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

_SECONDS_BETWEEN_LINES = 5.0


class Advance(Protocol):
    """Called with how many more units are done."""

    def __call__(self, count: int = 1) -> None:
        """Count further units."""
        ...


@contextmanager
def progress(label: str, total: int, unit: str, stream: TextIO | None = None) -> Iterator[Advance]:
    """Show how far a piece of work is, its rate and the time left.

    Args:
        label: What is being done.
        total: Number of units in all.
        unit: Plural of the unit, such as ``"samples"``.
        stream: Where to write; standard error by default.
    """
    stream = stream or sys.stderr
    if total == 0:
        yield lambda count=1: None
    elif stream.isatty():
        with _bar(label, total, unit, stream) as advance:
            yield advance
    else:
        lines = _Lines(label, total, unit, stream)
        yield lines.advance
        lines.close()


@contextmanager
def _bar(label: str, total: int, unit: str, stream: TextIO) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.1f} {unit}/s" if speed else "", style="cyan")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count=1: bar.advance(task, count)


class _Lines:
    """Plain lines for logs."""

    def __init__(self, label: str, total: int, unit: str, stream: TextIO) -> None:
        self.label, self.total, self.unit, self.stream = label, total, unit, stream
        self.done = 0
        self.start = self.written = time.monotonic()

    def advance(self, count: int = 1) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.written >= _SECONDS_BETWEEN_LINES:
            self.written = now
            rate = self.done / max(now - self.start, 1e-9)
            left = (self.total - self.done) / rate
            self._write(f"{self.done}/{self.total} {self.unit}, {rate:.1f}/s, {left:.0f} s left")

    def close(self) -> None:
        seconds = time.monotonic() - self.start
        self._write(f"{self.done}/{self.total} {self.unit} in {seconds:.1f} s")

    def _write(self, text: str) -> None:
        self.stream.write(f"{self.label}: {text}\n")
        self.stream.flush()
