"""What model kinds share whose samples or scores were made elsewhere: nothing runs here."""

from collections.abc import Sequence
from typing import Any

from rcm_bench.types import PromptRecord
from rcm_bench.unrecorded import UNKNOWN


class NotBroughtError(Exception):
    """A sample that an incomplete set lacks."""


class BroughtModel:
    """A model of which only what it made is here; its settings have ``recorded``."""

    settings: Any

    def digest(self) -> str:
        """Return the checkpoint as it was recorded; nobody can tell it from what it made."""
        checkpoint: str | None = self.settings.recorded.checkpoint
        return checkpoint or UNKNOWN

    def card(self) -> dict[str, Any]:
        """Return nothing: who made the samples is known to the user alone."""
        return {}

    def evaluations(self, steps: int) -> int:
        """Return 0: nothing is sampled here."""
        return 0

    def check(self, prompts: Sequence[PromptRecord], steps: Sequence[int]) -> None:
        """Do nothing: ``bring`` has looked at every prompt and number of steps."""

    def load(self, device: str) -> None:
        """Do nothing: no device is needed."""
