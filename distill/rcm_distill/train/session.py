"""What a session of training writes of it: scores, and weights with their card, now or later."""

import contextlib
import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rcm_distill import checkpoint
from rcm_distill.denoiser import Denoiser, network_denoiser
from rcm_distill.lab.pool import Pool
from rcm_distill.train import waiting
from rcm_distill.train.log import Log
from rcm_distill.train.recipe import Recipe
from rcm_distill.train.training import Training
from rcm_distill.train.waiting import At, Work

Turn = Callable[[], contextlib.AbstractContextManager[object]]
Validate = Callable[[Denoiser, int], Mapping[str, float]]
Progress = Callable[[int, int, Mapping[str, float]], None]


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

    @property
    def state(self) -> Path:
        """Return the file that a later session resumes from."""
        return self.out / "state.safetensors"


def score(training: Training, session: Session) -> None:
    """Score the averaged student as it is now: at once, or after the turn."""
    _now_or_later(session, _work(training, session, None))


def export(training: Training, session: Session, name: str) -> None:
    """Write the averaged student as it is now with its scores: at once, or after the turn."""
    _now_or_later(session, _work(training, session, name))


def finish(training: Training, session: Session) -> None:
    """Do what waits, then write the averaged student as it is at the end."""
    catch_up(session)
    _do(session, _work(training, session, session.recipe.recipe))


def catch_up(session: Session) -> None:
    """Do what waits, the earliest first."""
    for work in waiting.take(session.out, session.device):
        _do(session, work)


def _work(training: Training, session: Session, name: str | None) -> Work:
    recipe, student = session.recipe, training.student
    net = copy.deepcopy(student.net).eval()
    net.load_state_dict(student.averaged())
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
        "ema": asdict(recipe)["ema"][0] if recipe.ema else None,
    }
    return Work(net, At(training.step, training.seconds, student.updates), name, card)


def _now_or_later(session: Session, work: Work) -> None:
    """Do what may wait until another training has the device, where trainings take turns."""
    if session.turn is None:
        _do(session, work)
    else:
        waiting.keep(work, session.out)


def _do(session: Session, work: Work) -> None:
    net, at, name, card = work
    scores: Mapping[str, float] = {}
    if session.validate is not None:
        denoiser = network_denoiser(net, end_time=net.config.end_time)
        scores = dict(session.validate(denoiser, at.step))
        session.log.write_scores(*at, scores)
    if name is not None:
        path = session.out / f"{name}.safetensors"
        checkpoint.save(path, net.state_dict(), net.config, {**card, "scores": scores})
