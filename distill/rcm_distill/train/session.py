"""What a session of training writes of it: scores, and weights with their card, now or later."""

import contextlib
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from rcm_distill import checkpoint
from rcm_distill.denoiser import Denoiser, network_denoiser
from rcm_distill.lab.pool import Pool
from rcm_distill.nets.dit import DiT
from rcm_distill.train.log import Log
from rcm_distill.train.recipe import Recipe
from rcm_distill.train.training import Training

Turn = Callable[[], contextlib.AbstractContextManager[object]]
Validate = Callable[[Denoiser, int], Mapping[str, float]]
Progress = Callable[[int, int, Mapping[str, float]], None]


class At(NamedTuple):
    """Where a training is."""

    step: int
    seconds: float
    updates: int

    @classmethod
    def of(cls, training: Training) -> Self:
        """Return where it is now; ``updates`` are the student's."""
        return cls(training.step, training.seconds, training.student.updates)


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """What stays the same while a session trains."""

    recipe: Recipe
    loss: Any
    pool: Pool
    log: Log
    out: Path
    device: str
    max_seconds: float
    validate: Validate | None
    progress: Progress | None
    turn: Turn | None
    later: list[Callable[[], object]]

    @property
    def state(self) -> Path:
        """Return the file that a later session resumes from."""
        return self.out / "state.safetensors"


def averaged(training: Training) -> DiT:
    """Return the averaged student as a network of its own."""
    net = copy.deepcopy(training.student.net).eval()
    net.load_state_dict(training.student.averaged())
    return net


def scores(session: Session, net: DiT, at: At) -> dict[str, float]:
    """Validate and write what comes of it; nothing without a validation."""
    if session.validate is None:
        return {}
    denoiser = network_denoiser(net, end_time=net.config.end_time)
    found = dict(session.validate(denoiser, at.step))
    session.log.write_scores(*at, found)
    return found


def export(training: Training, session: Session, name: str, *, deferred: bool) -> Path:
    """Write the averaged student with its model card, now or after the turn."""
    recipe, student = session.recipe, training.student
    net, at = averaged(training), At.of(training)
    card = {
        "recipe": recipe.recipe,
        "about": recipe.about,
        "method": recipe.method,
        "teacher": recipe.teacher,
        "seed": recipe.seed,
        "steps": training.step,
        "steps_planned": recipe.steps,
        "student_updates": student.updates,
        "batch_size": recipe.batch_size,
        "seconds": round(training.seconds, 1),
        "hardware": torch.cuda.get_device_name() if session.device.startswith("cuda") else "cpu",
        "torch": torch.__version__,
        "ema": recipe.ema[0] if recipe.ema else None,
    }
    path = session.out / f"{name}.safetensors"

    def write() -> None:
        scored = card | {"scores": scores(session, net, at)}
        checkpoint.save(path, net.state_dict(), net.config, scored)

    now_or_later(session, write, deferred=deferred)
    return path


def now_or_later(session: Session, work: Callable[[], object], *, deferred: bool) -> None:
    """Do what may wait until another training has the device, where trainings take turns."""
    if deferred and session.turn is not None:
        session.later.append(work)
    else:
        work()
