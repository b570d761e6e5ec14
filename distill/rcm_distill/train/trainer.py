"""The training loop: phases of student and critic, averages, a time limit, and an exact resume."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rcm_distill import checkpoint
from rcm_distill.denoiser import Denoiser, network_denoiser
from rcm_distill.lab.grammar import NULL, VOCAB_SIZE
from rcm_distill.lab.pool import Pool
from rcm_distill.nets.dit import DiT, DiTConfig, with_end_time
from rcm_distill.objectives.protocol import Batch, LossTerms
from rcm_distill.train.graphs import StepGraphs
from rcm_distill.train.networks import TrainingDenoiser, training_denoiser
from rcm_distill.train.optimize import Optimized
from rcm_distill.train.recipe import Recipe, build, objective
from rcm_distill.train.state import load_state, save_state

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
        out: Folder of ``state.safetensors``, ``log.jsonl`` and ``<recipe>.safetensors``.
        device: Torch device, such as ``"cuda"`` or ``"cpu"``.
        teacher: Weights of the teacher; needed where the recipe names one.
        max_seconds: Time of this session, setting up left out; what is reached then is saved.
        validate: Called with the averaged student at the end of the session; its figures go into
            the model card.
        progress: Called every hundred steps with step, steps in all, and the latest terms.

    Raises:
        ValueError: The recipe and the folder do not fit together.
        FloatingPointError: More samples were non-finite than the recipe tolerates.
    """
    loss = objective(recipe)
    training = _start(recipe, loss, device, teacher)
    state_path = out / "state.safetensors"
    if state_path.exists():
        _restore(training, recipe, state_path)
    pool = Pool(recipe.data.num_images, recipe.data.seed, torch.device(device))
    log = _Log(out / "log.jsonl", recipe)
    reached = _loop(training, recipe, loss, pool, log, max_seconds, progress)
    training.seconds += reached
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


def _loop(
    training: Training,
    recipe: Recipe,
    loss: Any,
    pool: Pool,
    log: "_Log",
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
            terms = graphs(
                loss.variant(training.step), lambda: _descend(training, recipe, loss, pool)
            )
            learner.count()
            training.step += 1
            log.add(phase, terms, recipe.batch_size)
            if training.step % LOG_EVERY == 0 or training.step == recipe.steps:
                figures = log.write(training.step, training.seconds + time.monotonic() - start)
                if progress:
                    progress(training.step, recipe.steps, figures)
    graphs.finish()
    return time.monotonic() - start


def _descend(training: Training, recipe: Recipe, loss: Any, pool: Pool) -> LossTerms:
    """Draw a batch, compute the loss of whoever learns in this iteration, and take a step."""
    x0, tokens = pool.batch(recipe.batch_size, training.data)
    batch = Batch(x0, tokens, torch.full_like(tokens, NULL), tuple(x0.shape))
    student, critic = training.student, training.critic
    rng, step = training.noise, training.step
    terms: LossTerms
    if loss.phase(step) == "critic":
        assert critic is not None
        terms = loss.critic_loss(student.denoiser, critic.denoiser, batch, rng=rng, step=step)
        critic.descend(terms.total)
        return terms
    observed = critic.denoiser if critic else None
    terms = loss(student.denoiser, training.teacher, observed, batch, rng=rng, step=step)
    student.descend(terms.total)
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
        "step": training.step,
        "seconds": training.seconds,
        "updates": updates,
    }
    save_state(path, tensors, facts)


def _restore(training: Training, recipe: Recipe, path: Path) -> None:
    tensors, facts = load_state(path)
    if facts["recipe"] != recipe.recipe:
        raise ValueError(f"{path}: a state of recipe '{facts['recipe']}', not '{recipe.recipe}'")
    training.student.restore("student", tensors, facts["updates"]["student"])
    if training.critic:
        training.critic.restore("critic", tensors, facts["updates"]["critic"])
    training.data.set_state(tensors["rng.data"])
    training.noise.set_state(tensors["rng.noise"])
    training.step, training.seconds = facts["step"], facts["seconds"]


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


class _Log:
    """Sums terms on the device and writes means, so that the loop does not wait for the GPU."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path, self.recipe = path, recipe
        path.parent.mkdir(parents=True, exist_ok=True)
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.bad: Tensor | None = None
        self.seen = 0

    def add(self, phase: str, terms: LossTerms, batch_size: int) -> None:
        self.seen += batch_size
        bad = terms.nonfinite.detach().sum()
        self.bad = bad if self.bad is None else self.bad + bad
        for name, value in terms.terms.items():
            key = f"{phase}.{name}"
            value = value.detach()
            self.sums[key] = self.sums[key] + value if key in self.sums else value
            self.counts[key] = self.counts.get(key, 0) + 1

    def write(self, step: int, seconds: float) -> Mapping[str, float]:
        figures = {key: (total / self.counts[key]).item() for key, total in self.sums.items()}
        bad = 0.0 if self.bad is None else float(self.bad)
        if bad > self.recipe.max_nonfinite * self.seen:
            raise FloatingPointError(
                f"step {step}: {bad:.0f} of {self.seen} samples were not finite, more than "
                f"max_nonfinite ({self.recipe.max_nonfinite}) allows; last terms {figures}"
            )
        row = {"step": step, "seconds": round(seconds, 2), "nonfinite": bad, **figures}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.sums, self.counts, self.bad, self.seen = {}, {}, None, 0
        return figures
