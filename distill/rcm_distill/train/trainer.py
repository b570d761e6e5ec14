"""The training loop: phases of student and critic, averages, a time limit, and an exact resume."""

import contextlib
import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from rcm_distill import checkpoint
from rcm_distill.denoiser import Denoiser, network_denoiser
from rcm_distill.lab.grammar import NULL
from rcm_distill.lab.pool import Pool
from rcm_distill.nets.dit import DiT
from rcm_distill.objectives.protocol import Batch, LossTerms
from rcm_distill.train.balance import gradient_balance
from rcm_distill.train.graphs import StepGraphs
from rcm_distill.train.interrupts import Interrupts
from rcm_distill.train.log import Log
from rcm_distill.train.recipe import Recipe, objective
from rcm_distill.train.training import Training, restore, save, start

Turn = Callable[[], contextlib.AbstractContextManager[object]]
Validate = Callable[[Denoiser, int], Mapping[str, float]]
Progress = Callable[[int, int, Mapping[str, float]], None]
LOG_EVERY = 100
_REHEARSED = 64
"""Iterations that are looked ahead for kinds of work to compile."""


class _At(NamedTuple):
    """Where a training is."""

    step: int
    seconds: float
    updates: int

    @classmethod
    def of(cls, training: Training) -> Self:
        return cls(training.step, training.seconds, training.student.updates)


class Report(NamedTuple):
    """How a session of training ended."""

    step: int
    seconds: float
    finished: bool
    weights: Path
    log: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class _Session:
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
            after another, each compiling before its turn and validating after it.

    Raises:
        ValueError: The recipe and the folder do not fit together.
        FloatingPointError: More samples were non-finite, or a loss grew further, than the recipe
            tolerates; the state is then in ``stopped.safetensors``, and an earlier one is kept.
        KeyboardInterrupt: SIGINT asked to stop; the state is saved.
    """
    loss = objective(recipe)
    training = start(recipe, loss, device, teacher)
    if (out / "state.safetensors").exists():
        restore(training, recipe, out / "state.safetensors")
    log = Log(out, recipe, training.step)
    session = _Session(
        recipe=recipe,
        loss=loss,
        pool=Pool(recipe.data.num_images, recipe.data.seed, torch.device(device)),
        log=log,
        out=out,
        device=device,
        max_seconds=max_seconds,
        validate=validate,
        progress=progress,
        turn=turn,
        later=[],
    )
    try:
        interrupts = _loop(training, session)
        with Interrupts() as validating:
            for work in session.later:
                work()
        if interrupts.caught is None:
            weights = _export(training, session, recipe.recipe, deferred=False)
    except FloatingPointError as fault:
        save(training, recipe, out / "stopped.safetensors")
        raise FloatingPointError(f"{fault}. State: {out / 'stopped.safetensors'}") from None
    finally:
        log.close()
    interrupts.deliver()
    validating.deliver()
    return Report(training.step, training.seconds, training.step >= recipe.steps, weights, log.path)


def _loop(training: Training, session: _Session) -> Interrupts:
    """Train until the end, the time limit or a signal; the state is saved when this returns."""
    recipe, loss = session.recipe, session.loss
    graphs = StepGraphs(session.pool.images.device, (training.data, training.noise))
    turn: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if session.turn is not None:
        with graphs.on_stream():
            _rehearse(training, session, graphs)
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
            variant = loss.variant(training.step), _balanced(training, recipe, phase)
            terms = graphs(variant, lambda: _descend(training, recipe, loss, session.pool))
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


def _rehearse(training: Training, session: _Session, graphs: StepGraphs) -> None:
    """Compile every kind of work that is to come, and leave all as it was."""
    recipe, first = session.recipe, training.step
    last = min(first + _REHEARSED, recipe.steps)
    kinds = {session.loss.variant(step): step for step in reversed(range(first, last))}
    generators = training.data, training.noise
    states = [generator.get_state() for generator in generators]
    for variant, step in kinds.items():
        training.step = step
        terms = _loss_of_a_batch(training, recipe, session.loss, session.pool)
        terms.total.backward()  # type: ignore[no-untyped-call]
        graphs.rehearsed((variant, False))
    for learner in (training.student, training.critic):
        for leaf in learner.leaves() if learner else ():
            leaf.grad = None
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
    training.step = first
    graphs.finish()


def _is_due(recipe: Recipe, step: int, since: float) -> bool:
    """Return whether the state is to be saved now, so many seconds after the last time."""
    by_step = recipe.save_every > 0 and step % recipe.save_every == 0
    return by_step or 0 < recipe.save_seconds <= since


def _save(training: Training, session: _Session) -> None:
    """Save the state, unless the log or the weights say that it is spoiled: then raise."""
    session.log.write(training.step, training.seconds)
    training.check_finite()
    save(training, session.recipe, session.state)


def _report(training: Training, session: _Session, phase: str) -> None:
    """Log, validate and export what this iteration is due for."""
    recipe, step = session.recipe, training.step
    if step % LOG_EVERY == 0 or step == recipe.steps:
        figures = session.log.write(step, training.seconds)
        if session.progress:
            session.progress(step, recipe.steps, figures)
    if recipe.validate_every and step % recipe.validate_every == 0 and step < recipe.steps:
        net, at = _averaged(training), _At.of(training)
        _now_or_later(session, lambda: _scores(session, net, at), deferred=True)
    if phase == "student" and training.student.updates in recipe.snapshots:
        _export(
            training, session, f"{recipe.recipe}-{training.student.updates}-updates", deferred=True
        )


def _balanced(training: Training, recipe: Recipe, phase: str) -> bool:
    """Return whether the balance of gradients is measured in this iteration."""
    every = recipe.balance_every
    return phase == "student" and every > 0 and training.student.updates % every == 0


def _descend(training: Training, recipe: Recipe, loss: Any, pool: Pool) -> LossTerms:
    """Take a step of whoever learns in this iteration, on the mean loss of its batches."""
    critic = training.critic if loss.phase(training.step) == "critic" else None
    learner = critic or training.student
    learner.optimizer.zero_grad(set_to_none=True)
    parts = []
    for _ in range(recipe.accumulate):
        terms = _loss_of_a_batch(training, recipe, loss, pool)
        if len(terms.parts) > 1 and _balanced(training, recipe, "student"):
            balance = gradient_balance(terms.parts, learner.leaves())
            terms = terms._replace(terms=terms.terms | balance)
        terms = terms._replace(parts={})
        (terms.total / recipe.accumulate).backward()  # type: ignore[no-untyped-call]
        learner.collect()
        parts.append(terms._replace(total=terms.total.detach()))
    learner.descend()
    if len(parts) == 1:
        return parts[0]
    means = {key: torch.stack([p.terms[key] for p in parts]).mean(0) for key in parts[0].terms}
    return LossTerms(parts[-1].total, means, torch.stack([p.nonfinite for p in parts]).sum())


def _loss_of_a_batch(training: Training, recipe: Recipe, loss: Any, pool: Pool) -> LossTerms:
    x0, tokens = pool.batch(recipe.batch_size, training.data)
    batch = Batch(x0, tokens, torch.full_like(tokens, NULL), tuple(x0.shape), training.clock)
    student = training.student.denoiser
    critic = training.critic.denoiser if training.critic else None
    rng, step = training.noise, training.step
    terms: LossTerms
    if loss.phase(step) == "critic":
        terms = loss.critic_loss(student, critic, batch, rng=rng, step=step)
    else:
        terms = loss(student, training.teacher, critic, batch, rng=rng, step=step)
    return terms


def _averaged(training: Training) -> DiT:
    """Return the averaged student as a network of its own."""
    net = copy.deepcopy(training.student.net).eval()
    net.load_state_dict(training.student.averaged())
    return net


def _scores(session: _Session, net: DiT, at: _At) -> dict[str, float]:
    """Validate and write what comes of it; nothing without a validation."""
    if session.validate is None:
        return {}
    denoiser = network_denoiser(net, end_time=net.config.end_time)
    scores = dict(session.validate(denoiser, at.step))
    session.log.write_scores(*at, scores)
    return scores


def _export(training: Training, session: _Session, name: str, *, deferred: bool) -> Path:
    """Write the averaged student with its model card, now or after the turn."""
    recipe, student = session.recipe, training.student
    net, at = _averaged(training), _At.of(training)
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
        scored = card | {"scores": _scores(session, net, at)}
        checkpoint.save(path, net.state_dict(), net.config, scored)

    _now_or_later(session, write, deferred=deferred)
    return path


def _now_or_later(session: _Session, work: Callable[[], object], *, deferred: bool) -> None:
    if deferred and session.turn is not None:
        session.later.append(work)
    else:
        work()
