"""The training loop: phases of student and critic, averages, a time limit, and an exact resume."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rcm_distill import checkpoint
from rcm_distill.denoiser import Denoiser, network_denoiser
from rcm_distill.lab.grammar import NULL, VOCAB_SIZE
from rcm_distill.lab.pool import Pool
from rcm_distill.nets.dit import DiT, DiTConfig, with_end_time
from rcm_distill.objectives.protocol import Batch, LossTerms
from rcm_distill.train.balance import gradient_balance
from rcm_distill.train.graphs import StepGraphs
from rcm_distill.train.log import Log
from rcm_distill.train.networks import TrainingDenoiser, training_denoiser
from rcm_distill.train.optimize import Optimized
from rcm_distill.train.recipe import Recipe, build, objective
from rcm_distill.train.state import load_state, save_state

Validate = Callable[[Denoiser, int], Mapping[str, float]]
Progress = Callable[[int, int, Mapping[str, float]], None]
LOG_EVERY = 100
LIMITS = ("max_nonfinite", "max_growth")
"""Keys of a recipe that stop a training but do not change it."""


class Report(NamedTuple):
    """How a session of training ended."""

    step: int
    seconds: float
    finished: bool
    weights: Path
    log: Path


@dataclass(kw_only=True, slots=True)
class Training:
    """What changes while training; everything in it is saved and restored."""

    student: Optimized
    critic: Optimized | None
    teacher: TrainingDenoiser | None
    data: torch.Generator
    noise: torch.Generator
    step: int = 0
    seconds: float = 0.0


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

    Args:
        recipe: What to train.
        out: Folder of ``state.safetensors``, ``log.jsonl`` (and ``log.csv``) and
            ``<recipe>.safetensors``.
        device: Torch device, such as ``"cuda"`` or ``"cpu"``.
        teacher: Weights of the teacher; needed where the recipe names one.
        max_seconds: Time of this session, setting up left out; what is reached then is saved.
        validate: Called with the averaged student at the end of the session; its figures go into
            the model card.
        progress: Called every hundred steps with step, steps in all, and the latest terms.

    Raises:
        ValueError: The recipe and the folder do not fit together.
        FloatingPointError: More samples were non-finite, or a loss grew further, than the recipe
            tolerates; the state is then in ``stopped.safetensors``, and an earlier one is kept.
    """
    loss = objective(recipe)
    training = _start(recipe, loss, device, teacher)
    state_path = out / "state.safetensors"
    if state_path.exists():
        _restore(training, recipe, state_path)
    pool = Pool(recipe.data.num_images, recipe.data.seed, torch.device(device))
    log = Log(out / "log.jsonl", recipe)
    try:
        training.seconds += _loop(training, recipe, loss, pool, log, max_seconds, progress)
    except FloatingPointError as fault:
        _save(training, recipe, out / "stopped.safetensors")
        raise FloatingPointError(f"{fault}. State: {out / 'stopped.safetensors'}") from None
    finally:
        log.write_csv()
    _save(training, recipe, state_path)
    weights = _export(training, recipe, out, device, validate)
    return Report(training.step, training.seconds, training.step >= recipe.steps, weights, log.path)


def _start(recipe: Recipe, loss: Any, device: str, teacher: Path | None) -> Training:
    torch.manual_seed(recipe.seed)
    compiled = torch.device(device).type == "cuda"
    if compiled:
        torch.set_float32_matmul_precision("high")
    if recipe.teacher is None:
        config = build(DiTConfig, {"vocab_size": VOCAB_SIZE, **recipe.network}, "network")
        source, frozen = DiT(config).to(device), None
    else:
        if teacher is None:
            raise ValueError(f"recipe {recipe.recipe} needs the weights of '{recipe.teacher}'")
        source = checkpoint.load(teacher, device).net
        _check_teacher(recipe, source.config, teacher)
        source.requires_grad_(False)
        frozen = training_denoiser(source, recipe.precision, compiled=compiled)
    critic = None
    if "critic" in loss.needs:
        if recipe.critic is None:
            raise ValueError(f"recipe {recipe.recipe}: method {recipe.method} needs 'critic'")
        critic = Optimized.trained(source, recipe.critic, (), recipe, compiled=compiled)
    learner = with_end_time(source) if "end_time" in loss.needs else source
    return Training(
        student=Optimized.trained(learner, recipe.student, recipe.ema, recipe, compiled=compiled),
        critic=critic,
        teacher=frozen,
        data=torch.Generator(device).manual_seed(recipe.seed + 1),
        noise=torch.Generator(device).manual_seed(recipe.seed + 2),
    )


def _check_teacher(recipe: Recipe, config: DiTConfig, path: Path) -> None:
    """Refuse a teacher that the recipe does not describe, or that gives no velocities."""
    if config.end_time:
        raise ValueError(f"{path}: a teacher gives velocities, this network average velocities")
    for key, value in recipe.network.items():
        if getattr(config, key, None) != value:
            raise ValueError(
                f"{path}: recipe {recipe.recipe} expects a teacher with network.{key}: {value}, "
                f"got {getattr(config, key, 'no such key')}"
            )


def _loop(
    training: Training,
    recipe: Recipe,
    loss: Any,
    pool: Pool,
    log: Log,
    max_seconds: float,
    progress: Progress | None,
) -> float:
    graphs = StepGraphs(pool.images.device, (training.data, training.noise))
    start = time.monotonic()
    with graphs.on_stream():
        while training.step < recipe.steps and time.monotonic() - start < max_seconds:
            phase = loss.phase(training.step)
            learner = training.critic if phase == "critic" else training.student
            assert learner is not None
            learner.set_rate(training.step, recipe.steps)
            variant = loss.variant(training.step), _balanced(training, recipe, phase)
            terms = graphs(variant, lambda: _descend(training, recipe, loss, pool))
            learner.count()
            training.step += 1
            log.add(phase, terms, recipe.batch_size * recipe.accumulate)
            if training.step % LOG_EVERY == 0 or training.step == recipe.steps:
                figures = log.write(training.step, training.seconds + time.monotonic() - start)
                if progress:
                    progress(training.step, recipe.steps, figures)
    graphs.finish()
    return time.monotonic() - start


def _balanced(training: Training, recipe: Recipe, phase: str) -> bool:
    """Return whether the balance of gradients is measured in this iteration."""
    every = recipe.balance_every
    return phase == "student" and every > 0 and training.student.updates % every == 0


def _descend(training: Training, recipe: Recipe, loss: Any, pool: Pool) -> LossTerms:
    """Take a step of whoever learns in this iteration, on the mean loss of its batches."""
    critic = training.critic if loss.phase(training.step) == "critic" else None
    learner = critic or training.student
    learner.optimizer.zero_grad(set_to_none=False)
    parts = []
    for _ in range(recipe.accumulate):
        terms = _loss_of_a_batch(training, recipe, loss, pool)
        if len(terms.parts) > 1 and _balanced(training, recipe, "student"):
            balance = gradient_balance(terms.parts, learner.net.parameters())
            terms = terms._replace(terms=terms.terms | balance)
        terms = terms._replace(parts={})
        (terms.total / recipe.accumulate).backward()  # type: ignore[no-untyped-call]
        parts.append(terms)
    learner.descend()
    if len(parts) == 1:
        return parts[0]
    means = {key: torch.stack([p.terms[key] for p in parts]).mean(0) for key in parts[0].terms}
    return LossTerms(
        parts[-1].total.detach(), means, torch.stack([p.nonfinite for p in parts]).sum()
    )


def _loss_of_a_batch(training: Training, recipe: Recipe, loss: Any, pool: Pool) -> LossTerms:
    x0, tokens = pool.batch(recipe.batch_size, training.data)
    batch = Batch(x0, tokens, torch.full_like(tokens, NULL), tuple(x0.shape))
    student = training.student.denoiser
    critic = training.critic.denoiser if training.critic else None
    rng, step = training.noise, training.step
    terms: LossTerms
    if loss.phase(step) == "critic":
        terms = loss.critic_loss(student, critic, batch, rng=rng, step=step)
    else:
        terms = loss(student, training.teacher, critic, batch, rng=rng, step=step)
    return terms


def _save(training: Training, recipe: Recipe, path: Path) -> None:
    tensors = {"rng.data": training.data.get_state(), "rng.noise": training.noise.get_state()}
    tensors |= training.student.state("student")
    updates = {"student": training.student.updates}
    if training.critic:
        tensors |= training.critic.state("critic")
        updates["critic"] = training.critic.updates
    facts = {
        "recipe": recipe.recipe,
        "settings": _settings(recipe),
        "step": training.step,
        "seconds": training.seconds,
        "updates": updates,
    }
    save_state(path, tensors, facts)


def _restore(training: Training, recipe: Recipe, path: Path) -> None:
    tensors, facts = load_state(path)
    if facts["recipe"] != recipe.recipe:
        raise ValueError(f"{path}: a state of recipe '{facts['recipe']}', not '{recipe.recipe}'")
    # States written before recipes were kept in them have the name only.
    for key, value in _settings(recipe).items():
        was = facts.get("settings", {}).get(key, value)
        if was != value:
            raise ValueError(
                f"{path}: a state of this recipe with {key}: {was}, not {value}; train into "
                "another folder, or change the recipe back"
            )
    training.student.restore("student", tensors, facts["updates"]["student"])
    if training.critic:
        training.critic.restore("critic", tensors, facts["updates"]["critic"])
    training.data.set_state(tensors["rng.data"])
    training.noise.set_state(tensors["rng.noise"])
    training.step, training.seconds = facts["step"], facts["seconds"]


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Return what decides the weights, as JSON would give it back."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return {key: settings[key] for key in settings if key not in ("about", *LIMITS)}


def _export(
    training: Training, recipe: Recipe, out: Path, device: str, validate: Validate | None
) -> Path:
    student = training.student
    averaged = student.averaged()
    net = DiT(student.net.config).to(device).eval()
    net.load_state_dict(averaged)
    denoiser = network_denoiser(net, end_time=net.config.end_time)
    scores = dict(validate(denoiser, training.step)) if validate else {}
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
        "hardware": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "torch": torch.__version__,
        "ema": recipe.ema[0] if recipe.ema else None,
        "scores": scores,
    }
    path = out / f"{recipe.recipe}.safetensors"
    checkpoint.save(path, averaged, student.net.config, card)
    return path
