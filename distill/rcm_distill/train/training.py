"""The state of a training: set up from a recipe, saved whole, restored exactly."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rcm_distill import checkpoint
from rcm_distill.lab.grammar import VOCAB_SIZE
from rcm_distill.nets.dit import DiT, DiTConfig, with_parts
from rcm_distill.train.lowered import Lowered
from rcm_distill.train.networks import TrainingDenoiser, training_denoiser
from rcm_distill.train.optimize import Optimized
from rcm_distill.train.recipe import Recipe, build
from rcm_distill.train.state import load_state, save_state

BESIDE = (
    *("max_nonfinite", "max_growth", "save_every", "save_seconds", "validate_every"),
    *("snapshots", "tensorboard"),
)
"""Keys of a recipe that stop, save or show a training but do not change it."""


@dataclass(kw_only=True, slots=True)
class Training:
    """What changes while training; everything in it is saved and restored.

    Attributes:
        student: Who is trained.
        critic: Who judges it, where the method has a critic.
        teacher: Who is followed, where there is one.
        data: Draws batches.
        noise: Draws noise and times.
        clock: The step on the device, where the work of an iteration can read it.
        step: Iterations so far.
        seconds: Time of training so far.
    """

    student: Optimized
    critic: Optimized | None
    teacher: TrainingDenoiser | None
    data: torch.Generator
    noise: torch.Generator
    clock: torch.Tensor
    step: int = 0
    seconds: float = 0.0

    def check_finite(self) -> None:
        """Refuse weights that are not finite: a state of them must not replace a good one.

        Raises:
            FloatingPointError: A weight is NaN or infinite.
        """
        for role, learner in (("student", self.student), ("critic", self.critic)):
            for name, weight in learner.net.named_parameters() if learner else ():
                if not torch.isfinite(weight).all():
                    raise FloatingPointError(f"step {self.step}: {role}: {name} is not finite")


def start(recipe: Recipe, loss: Any, device: str, teacher: Path | None) -> Training:
    """Set up student, critic and teacher as a recipe says, before the first step."""
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
        lowered = Lowered.where_it_pays(source, recipe.precision)
        frozen = training_denoiser(
            source,
            recipe.precision,
            compiled=compiled,
            lowered=lowered.net if lowered else None,
        )
    critic = None
    if "critic" in loss.needs:
        if recipe.critic is None:
            raise ValueError(f"recipe {recipe.recipe}: method {recipe.method} needs 'critic'")
        judging = with_parts(source, *sorted({"discriminator"} & loss.needs))
        critic = Optimized.trained(judging, recipe.critic, (), recipe, compiled=compiled)
    learner = with_parts(source, *sorted({"end_time", "log_weight"} & loss.needs))
    return Training(
        student=Optimized.trained(learner, recipe.student, recipe.ema, recipe, compiled=compiled),
        critic=critic,
        teacher=frozen,
        data=torch.Generator(device).manual_seed(recipe.seed + 1),
        noise=torch.Generator(device).manual_seed(recipe.seed + 2),
        clock=torch.zeros((), dtype=torch.float64, device=device),
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


def save(training: Training, recipe: Recipe, path: Path) -> None:
    """Write all that a resume needs; the file appears whole or not at all."""
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


def restore(training: Training, recipe: Recipe, path: Path) -> None:
    """Put back what ``save`` wrote.

    Raises:
        ValueError: The file is damaged, or of another recipe.
    """
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
    return {key: settings[key] for key in settings if key not in ("about", *BESIDE)}
