"""The training loop: phases of student and critic, averages, a time limit, and an exact resume."""

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

import torch

from rcm_distill.lab.pool import Pool
from rcm_distill.lab.pool_file import read_pairs
from rcm_distill.train.graphs import StepGraphs
from rcm_distill.train.interrupts import Interrupts
from rcm_distill.train.iteration import descend, is_balanced, rehearse
from rcm_distill.train.log import Log
from rcm_distill.train.recipe import Data, Recipe, objective
from rcm_distill.train.session import (
    Progress,
    Session,
    Turn,
    Validate,
    catch_up,
    export,
    finish,
    score,
)
from rcm_distill.train.training import Training, restore, save, start
from rcm_distill.train.waiting import forget_after

LOG_EVERY = 100


class Report(NamedTuple):
    """How a session of training ended."""

    step: int
    seconds: float
    finished: bool
    weights: Path
    log: Path


def train(
    recipe: Recipe,
    out: Path,
    *,
    device: str,
    teacher: Path | None = None,
    max_seconds: float = float("inf"),
    validate: Validate | None = None,
    progress: Progress | None = None,
    turn: Turn | None = None,
    data: Path | None = None,
) -> Report:
    """Train until the recipe's steps or the time limit, whichever comes first; resume from ``out``.

    The state is saved as often as the recipe says, at the end of the session, and when SIGINT or
    SIGTERM asks to stop: the iteration is finished, the state saved, and then the signal acts.

    Args:
        recipe: What to train.
        out: Folder of ``state.safetensors``, ``log.jsonl`` (and ``log.csv``), the same of
            ``validation``, and ``<recipe>.safetensors``.
        device: Torch device, such as ``"cuda"`` or ``"cpu"``.
        teacher: Weights of the teacher; needed where the recipe names one.
        max_seconds: Time of this session, setting up left out; what is reached then is saved.
        validate: Called with the averaged student as often as the recipe says and at the end of the
            session; its figures go into ``validation.jsonl`` and the model card.
        progress: Called every hundred steps with step, steps in all, and the latest terms.
        turn: Makes a context in which the device is this training's alone. It is entered when
            everything is compiled and left before validation: several processes then train one
            after another, each compiling before its turn and validating after it. What is to be
            validated waits in the folder ``waiting`` of ``out``, where a stop does not lose it.
        data: The file of pairs; needed where the recipe names one.

    Raises:
        ValueError: The recipe and the folder do not fit together, or the data are damaged.
        FloatingPointError: More samples were non-finite, or a loss grew further, than the recipe
            tolerates; the state is then in ``stopped.safetensors``, and an earlier one is kept.
        KeyboardInterrupt: SIGINT asked to stop; the state is saved.
    """
    loss, pool = objective(recipe), _pool(recipe.data, data, device)
    training = start(recipe, loss, device, teacher)
    if (out / "state.safetensors").exists():
        restore(training, recipe, out / "state.safetensors")
    forget_after(out, training.step)
    log = Log(out, recipe, training.step)
    session = Session(
        recipe=recipe,
        loss=loss,
        pool=pool,
        log=log,
        out=out,
        device=device,
        max_seconds=max_seconds,
        validate=validate,
        progress=progress,
        turn=turn,
    )
    try:
        if turn is None:
            catch_up(session)
        interrupts = _loop(training, session)
        if interrupts.caught is None:
            finish(training, session)
    except FloatingPointError as fault:
        save(training, recipe, out / "stopped.safetensors")
        raise FloatingPointError(f"{fault}. State: {out / 'stopped.safetensors'}") from None
    finally:
        log.close()
    interrupts.deliver()
    weights, finished = out / f"{recipe.recipe}.safetensors", training.step >= recipe.steps
    return Report(training.step, training.seconds, finished, weights, log.path)


def _pool(wanted: Data, path: Path | None, device: str) -> Pool:
    if wanted.num_images is not None:
        return Pool(wanted.num_images, wanted.seed, torch.device(device))
    if path is None:
        raise ValueError(f"the recipe needs the file of its data, '{wanted.file}'")
    return Pool.of(read_pairs(path, str(wanted.sha256)), device)


def _loop(training: Training, session: Session) -> Interrupts:
    """Train until the end, the time limit or a signal; the state is saved when this returns."""
    recipe, loss = session.recipe, session.loss
    graphs = StepGraphs(session.pool.images.device, (training.data, training.noise))
    turn: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if session.turn is not None and training.step < recipe.steps:
        with graphs.on_stream():
            rehearse(training, session, graphs)
        turn = session.turn()
    with turn, graphs.on_stream(), Interrupts() as interrupts:
        begun, before, saved = time.monotonic(), training.seconds, 0.0
        elapsed = 0.0
        while (
            training.step < recipe.steps
            and elapsed < session.max_seconds
            and interrupts.caught is None
        ):
            phase = loss.phase(training.step)
            learner = training.critic if phase == "critic" else training.student
            assert learner is not None
            learner.set_rate(training.step, recipe.steps)
            training.clock.fill_(training.step)
            variant = loss.variant(training.step), is_balanced(training, recipe, phase)
            terms = graphs(variant, lambda: descend(training, recipe, loss, session.pool))
            learner.count()
            training.step += 1
            session.log.add(phase, terms, recipe.batch_size * recipe.accumulate)
            elapsed = time.monotonic() - begun
            training.seconds = before + elapsed
            _report(training, session, phase)
            if _is_due(recipe, training.step, elapsed - saved):
                _save(training, session)
                saved = elapsed
        graphs.finish()
        _save(training, session)
    return interrupts


def _is_due(recipe: Recipe, step: int, since: float) -> bool:
    """Return whether the state is to be saved now, so many seconds after the last time."""
    by_step = recipe.save_every > 0 and step % recipe.save_every == 0
    return by_step or 0 < recipe.save_seconds <= since


def _save(training: Training, session: Session) -> None:
    """Save the state, unless the log or the weights say that it is spoiled: then raise."""
    session.log.write(training.step, training.seconds)
    training.check_finite()
    save(training, session.recipe, session.state)


def _report(training: Training, session: Session, phase: str) -> None:
    """Log, validate and export what this iteration is due for."""
    recipe, step = session.recipe, training.step
    if step % LOG_EVERY == 0 or step == recipe.steps:
        figures = session.log.write(step, training.seconds)
        if session.progress:
            session.progress(step, recipe.steps, figures)
    if recipe.validate_every and step % recipe.validate_every == 0 and step < recipe.steps:
        score(training, session)
    if phase == "student" and training.student.updates in recipe.snapshots:
        export(training, session, f"{recipe.recipe}-{training.student.updates}-updates")
