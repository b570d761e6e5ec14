"""The training loop: phases of student and critic, averages, a time limit, and an exact resume."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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

Validate = Callable[[Denoiser, int], Mapping[str, float]]
Progress = Callable[[int, int, Mapping[str, float]], None]
LOG_EVERY = 100


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
    )
    try:
        interrupts = _loop(training, session)
        if interrupts.caught is None:
            weights = _export(training, session, recipe.recipe)
    except FloatingPointError as fault:
        save(training, recipe, out / "stopped.safetensors")
        raise FloatingPointError(f"{fault}. State: {out / 'stopped.safetensors'}") from None
    finally:
        log.close()
    interrupts.deliver()
    return Report(training.step, training.seconds, training.step >= recipe.steps, weights, log.path)


def _loop(training: Training, session: _Session) -> Interrupts:
    """Train until the end, the time limit or a signal; the state is saved when this returns."""
    recipe, loss = session.recipe, session.loss
    graphs = StepGraphs(session.pool.images.device, (training.data, training.noise))
    begun, before, saved = time.monotonic(), training.seconds, 0.0
    elapsed = 0.0
    with graphs.on_stream(), Interrupts() as interrupts:
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
        _scores(training, session, _averaged(training, session.device))
    if phase == "student" and training.student.updates in recipe.snapshots:
        _export(training, session, f"{recipe.recipe}-{training.student.updates}-updates")


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


def _averaged(training: Training, device: str) -> DiT:
    """Return the averaged student as a network of its own."""
    net = DiT(training.student.net.config).to(device).eval()
    net.load_state_dict(training.student.averaged())
    return net


def _scores(training: Training, session: _Session, net: DiT) -> dict[str, float]:
    """Validate and write what comes of it; nothing without a validation."""
    if session.validate is None:
        return {}
    denoiser = network_denoiser(net, end_time=net.config.end_time)
    scores = dict(session.validate(denoiser, training.step))
    session.log.write_scores(training.step, training.seconds, training.student.updates, scores)
    return scores


def _export(training: Training, session: _Session, name: str) -> Path:
    """Write the averaged student with its model card."""
    recipe, student = session.recipe, training.student
    net = _averaged(training, session.device)
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
        "scores": _scores(training, session, net),
    }
    path = session.out / f"{name}.safetensors"
    checkpoint.save(path, net.state_dict(), net.config, card)
    return path
