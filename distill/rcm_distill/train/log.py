"""What a training says of itself: terms and scores as JSON lines and CSV, and when it must stop."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rcm_distill.objectives.protocol import LossTerms
from rcm_distill.train.balance import PREFIX
from rcm_distill.train.board import Board
from rcm_distill.train.recipe import Recipe

_NO_TERMS = ("step", "seconds", "nonfinite")


class Log:
    """Sums terms on the device and writes means, so that the loop does not wait for the GPU.

    Two files: ``log.jsonl`` with the means of the terms, ``validation.jsonl`` with scores of the
    averaged student. Lines of steps after the one that a training resumes from are taken out: they
    were written after the state was, by a session that was killed.
    """

    def __init__(self, folder: Path, recipe: Recipe, step: int = 0) -> None:
        """Open the log of a folder.

        Args:
            folder: Folder of the training.
            recipe: What is trained.
            step: Step that the training goes on from.

        Raises:
            ValueError: A line cannot be read, or the recipe asks for TensorBoard and it is missing.
        """
        self.board = Board(folder / "tensorboard", step) if recipe.tensorboard else None
        self.path, self.validation = folder / "log.jsonl", folder / "validation.jsonl"
        self.recipe = recipe
        folder.mkdir(parents=True, exist_ok=True)
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.bad: Tensor | None = None
        self.seen = 0
        self.smallest: dict[str, float] = {}
        self.scored = [row["step"] for row in _cut(self.validation, step)]
        for row in _cut(self.path, step):
            self._note_smallest({k: v for k, v in row.items() if k not in _NO_TERMS})

    def add(self, phase: str, terms: LossTerms, batch_size: int) -> None:
        """Take in one iteration's terms of whoever learned in it."""
        self.seen += batch_size
        bad = terms.nonfinite.detach().sum()
        self.bad = bad if self.bad is None else self.bad + bad
        for name, value in terms.terms.items():
            key = f"{phase}.{name}"
            # A copy: the next replay of the iteration writes where this one did.
            value = value.detach().clone()
            self.sums[key] = self.sums[key] + value if key in self.sums else value
            self.counts[key] = self.counts.get(key, 0) + 1

    def write(self, step: int, seconds: float) -> Mapping[str, float]:
        """Write and return the means since the last call; nothing where nothing came in.

        Raises:
            FloatingPointError: Too many samples were not finite, or a loss has grown too far.
        """
        if not self.seen:
            return {}
        figures = {key: (total / self.counts[key]).item() for key, total in self.sums.items()}
        bad = 0.0 if self.bad is None else float(self.bad)
        row = {"step": step, "seconds": round(seconds, 2), "nonfinite": bad, **figures}
        _append(self.path, row)
        if self.board:
            self.board.write({"nonfinite": bad, **figures}, step)
        seen, self.seen = self.seen, 0
        self.sums, self.counts, self.bad = {}, {}, None
        self._check(step, figures, bad, seen)
        return figures

    def write_scores(
        self, step: int, seconds: float, updates: int, scores: Mapping[str, float]
    ) -> None:
        """Write what validation says of the averaged student at a step, once."""
        if step in self.scored:
            return
        self.scored.append(step)
        row = {"step": step, "seconds": round(seconds, 2), "student_updates": updates, **scores}
        _append(self.validation, row)
        if self.board:
            self.board.write({f"validation.{name}": value for name, value in scores.items()}, step)

    def close(self) -> None:
        """Write each file, lines of earlier sessions too, as a CSV table beside it."""
        for path in (self.path, self.validation):
            if path.exists():
                _write_csv(path)
        if self.board:
            self.board.close()

    def _check(self, step: int, figures: Mapping[str, float], bad: float, seen: int) -> None:
        recipe = self.recipe
        if bad > recipe.max_nonfinite * seen:
            raise FloatingPointError(
                f"step {step}: {bad:.0f} of {seen} samples were not finite, more than "
                f"max_nonfinite ({recipe.max_nonfinite}) allows; last terms {figures}"
            )
        for key, value in figures.items():
            smallest = self.smallest.get(key, value)
            if (
                f".{PREFIX}" not in key
                and smallest > 0
                and not value <= recipe.max_growth * smallest
            ):
                raise FloatingPointError(
                    f"step {step}: {key} is {value:.4g}, more than max_growth "
                    f"({recipe.max_growth:g}) times its smallest mean so far ({smallest:.4g})"
                )
        self._note_smallest(figures)

    def _note_smallest(self, figures: Mapping[str, float]) -> None:
        for key, value in figures.items():
            self.smallest[key] = min(self.smallest.get(key, value), value)


def _append(path: Path, row: Mapping[str, float]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _cut(path: Path, step: int) -> list[dict[str, Any]]:
    """Keep the lines up to a step, and return them; a torn last line goes too.

    Raises:
        ValueError: Another line than the last cannot be read.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    kept: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise ValueError(f"{path}: line {number}: expected JSON, got {line[:40]!r}") from None
        if row["step"] <= step:
            kept.append(row)
    if len(kept) < len(lines):
        partial = path.with_name(path.name + ".part")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        partial.replace(path)
    return kept


def _write_csv(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
