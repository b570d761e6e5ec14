"""Validation that waits in files until a session has the time: a stop in between loses none."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rcm_distill import checkpoint
from rcm_distill.nets.dit import DiT

FOLDER = "waiting"


class At(NamedTuple):
    """Where a training is; ``updates`` are the student's."""

    step: int
    seconds: float
    updates: int


class Work(NamedTuple):
    """A network to validate.

    Attributes:
        net: The averaged student.
        at: Where the training was.
        name: Stem of the weights that are to be written with the scores; None for scores alone.
        card: Their model card.
    """

    net: DiT
    at: At
    name: str | None
    card: Mapping[str, Any]


def keep(work: Work, folder: Path) -> None:
    """Write a work in float32; the file appears whole or not at all."""
    folder = folder / FOLDER
    folder.mkdir(exist_ok=True)
    facts = {"at": list(work.at), "name": work.name, "card": dict(work.card)}
    path = folder / f"{work.at.step:09d}-{work.name or 'scores'}.safetensors"
    checkpoint.save(path, work.net.state_dict(), work.net.config, facts, dtype=torch.float32)


def take(folder: Path, device: str) -> Iterator[Work]:
    """Yield what waits, the earliest first; a file goes once its work is done.

    Raises:
        ValueError: A file is damaged.
    """
    for path in sorted((folder / FOLDER).glob("*.safetensors")):
        net, _, facts = checkpoint.load(path, device)
        yield Work(net, At(*facts["at"]), facts["name"], facts["card"])
        path.unlink()


def forget_after(folder: Path, step: int) -> None:
    """Delete what waits of later steps: a training that resumes earlier makes it again."""
    for path in (folder / FOLDER).glob("*.safetensors"):
        if int(path.name.partition("-")[0]) > step:
            path.unlink()
