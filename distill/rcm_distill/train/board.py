"""TensorBoard beside the CSV: an optional package, asked for by the recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Board:
    """Writes scalars that TensorBoard shows; what lies after ``step`` is hidden by a resume."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open a folder of event files.

        Args:
            folder: Where the event files lie.
            step: Step that the training goes on from.

        Raises:
            ValueError: The package ``tensorboard`` is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError(
                "tensorboard: true needs the package tensorboard, which is not installed; "
                "install it with: pip install 'rcm-bench[tensorboard]'"
            ) from None
        writer: Any = SummaryWriter
        self._writer = writer(str(folder), purge_step=step + 1)

    def write(self, figures: Mapping[str, float], step: int) -> None:
        """Write figures of one step."""
        for name, value in figures.items():
            self._writer.add_scalar(name.replace(".", "/", 1), value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
