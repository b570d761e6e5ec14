"""What a training says of itself: means of terms as JSON lines and CSV, and when it must stop."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from rcm_distill.objectives.protocol import LossTerms
from rcm_distill.train.balance import PREFIX
from rcm_distill.train.recipe import Recipe


class Log:
    """Sums terms on the device and writes means, so that the loop does not wait for the GPU."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        """Append to a file of JSON lines."""
        self.path, self.recipe = path, recipe
        path.parent.mkdir(parents=True, exist_ok=True)
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.bad: Tensor | None = None
        self.seen = 0
        self.smallest: dict[str, float] = {}

    def add(self, phase: str, terms: LossTerms, batch_size: int) -> None:
        """Take in one iteration's terms of whoever learned in it."""
        self.seen += batch_size
        bad = terms.nonfinite.detach().sum()
        self.bad = bad if self.bad is None else self.bad + bad
        for name, value in terms.terms.items():
            key = f"{phase}.{name}"
            value = value.detach()
            self.sums[key] = self.sums[key] + value if key in self.sums else value
            self.counts[key] = self.counts.get(key, 0) + 1

    def write(self, step: int, seconds: float) -> Mapping[str, float]:
        """Write and return the means since the last call.

        Raises:
            FloatingPointError: Too many samples were not finite, or a loss has grown too far.
        """
        figures = {key: (total / self.counts[key]).item() for key, total in self.sums.items()}
        bad = 0.0 if self.bad is None else float(self.bad)
        row = {"step": step, "seconds": round(seconds, 2), "nonfinite": bad, **figures}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        seen, self.seen = self.seen, 0
        self.sums, self.counts, self.bad = {}, {}, None
        self._check(step, figures, bad, seen)
        return figures

    def write_csv(self) -> Path:
        """Write all lines so far, of earlier sessions too, as one table beside them."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        rows = [json.loads(line) for line in lines]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        path = self.path.with_suffix(".csv")
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        return path

    def _check(self, step: int, figures: Mapping[str, float], bad: float, seen: int) -> None:
        recipe = self.recipe
        if bad > recipe.max_nonfinite * seen:
            raise FloatingPointError(
                f"step {step}: {bad:.0f} of {seen} samples were not finite, more than "
                f"max_nonfinite ({recipe.max_nonfinite}) allows; last terms {figures}"
            )
        for key, value in figures.items():
            if f".{PREFIX}" in key:
                continue
            smallest = self.smallest.setdefault(key, value)
            if smallest > 0 and not value <= recipe.max_growth * smallest:
                raise FloatingPointError(
                    f"step {step}: {key} is {value:.4g}, more than max_growth "
                    f"({recipe.max_growth:g}) times its smallest mean so far ({smallest:.4g})"
                )
            self.smallest[key] = min(smallest, value)
