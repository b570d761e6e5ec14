"""Training recipes: one YAML file says everything that decides the weights.

A recipe names a method (a file of ``rcm_distill.objectives``), its hyperparameters, the teacher,
the data and the optimisers. How long a session may take and where it writes are the invocation's.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Set
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType, ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from rcm_distill import objectives
from rcm_distill.ema import Constant, HalfLife, Power
from rcm_distill.objectives.presets import PRESETS


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """AdamW and its learning-rate schedule.

    Attributes:
        lr: Peak learning rate.
        betas: Decay rates of the two moments.
        weight_decay: Decoupled weight decay.
        warmup: Updates of linear warm-up.
        decay: ``"cosine"`` falls to one per cent of ``lr`` at the last step; ``"constant"`` stays.
        clip: Largest gradient norm.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warmup: int = 100
    decay: Literal["constant", "cosine"] = "constant"
    clip: float = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """What training draws from: rendered scenes of the laboratory, or a file of pairs.

    Attributes:
        num_images: How many scenes to render; None where there is a file.
        seed: Their seed.
        file: A file of ``rcm_distill.lab.pool_file``, beside the recipe.
        sha256: Its SHA-256: a path alone does not decide the weights.
    """

    num_images: int | None = None
    seed: int = 0
    file: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        """Refuse no data, two sorts of data, and a file that is not named by its content."""
        if (self.num_images is None) == (self.file is None):
            raise ValueError("give either num_images or file")
        if self.num_images is not None and self.num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {self.num_images}")
        if (self.file is None) != (self.sha256 is None):
            raise ValueError("file and sha256 belong together")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides the weights.

    Attributes:
        recipe: Name, and the stem of the files that come out.
        about: What it is for, in a sentence.
        method: File stem in ``rcm_distill.objectives``.
        objective: Hyperparameters of the method; ``preset`` among them starts from a published
            configuration.
        teacher: Id or path of the teacher's weights; None trains from scratch.
        network: Architecture of a network trained from scratch; a student takes its teacher's.
        data: The training scenes.
        student: Optimiser of the trained network.
        critic: Optimiser of the critic, for the methods that have one.
        steps: Iterations in all, students' and critics' together.
        batch_size: Scenes per iteration.
        ema: Averages, several at once, the first of which is what is evaluated: a number is the
            relative length of a power function, ``{law: constant, decay: 0.99, start: 200}`` and
            ``{law: half_life, updates: 500}`` are the others.
        seed: Seed of initialisation, data order and noise.
        precision: ``"bf16"`` runs networks under autocast; tangents stay in float32.
        accumulate: Batches per iteration, whose losses are averaged before a step is taken.
        balance_every: Student updates between two measurements of how the terms of the loss pull at
            the weights (norms of their gradients, cosine between them), for the log; 0 for none.
        max_nonfinite: Largest tolerated share of non-finite samples between two lines of the log.
        max_growth: A term of the loss that exceeds its smallest mean so many times has diverged.
            Without limit by default: consistency losses start near 0 and rise in healthy training.
        save_every: Iterations between two saves of the state; 0 for none.
        save_seconds: Seconds between two saves of the state; 0 for none.
        validate_every: Iterations between two validations of the averaged student; 0 for one at the
            end of a session only.
        snapshots: Numbers of student updates after which the averaged student is written as
            ``<recipe>-<updates>-updates.safetensors``.
        tensorboard: Whether the log is written for TensorBoard too (an optional package).
    """

    recipe: str
    about: str
    method: str
    objective: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    network: Mapping[str, Any] = field(default_factory=dict)
    data: Data
    student: Optimizer
    critic: Optimizer | None = None
    steps: int
    batch_size: int
    ema: tuple[float | Power | Constant | HalfLife, ...] = (0.05,)
    seed: int = 0
    precision: Literal["bf16", "float32"] = "bf16"
    accumulate: int = 1
    balance_every: int = 0
    max_nonfinite: float = 0.01
    max_growth: float = float("inf")
    save_every: int = 0
    save_seconds: float = 300.0
    validate_every: int = 0
    snapshots: tuple[int, ...] = ()
    tensorboard: bool = False


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ValueError: The file is missing, not YAML, or holds an unknown key or a wrong value; the
            message names file, key, what was expected and what came.
    """
    recipe: Recipe = build(Recipe, read_values(path, "recipe"), str(path))
    if min(recipe.steps, recipe.batch_size, recipe.accumulate) < 1:
        raise ValueError(f"{path}: steps, batch_size and accumulate must be at least 1")
    for length in recipe.ema:
        if isinstance(length, float):
            build(Power, {"length": length}, f"{path}: ema")
    for key in ("save_every", "save_seconds", "validate_every"):
        if getattr(recipe, key) < 0:
            raise ValueError(f"{path}: {key} must not be negative, got {getattr(recipe, key)}")
    _check_roles(recipe, objective(recipe, str(path)).needs, str(path))
    return recipe


def read_values(path: Path, what: str) -> Any:
    """Read a YAML file of plain values.

    Args:
        path: The file.
        what: What it holds, for the message.

    Raises:
        ValueError: It is missing or not YAML.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such {what}")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise ValueError(f"{path}: not a YAML file: {fault}") from None


def objective(recipe: Recipe, where: str = "recipe") -> Any:
    """Build the objective that a recipe names, with its hyperparameters checked."""
    known = methods()
    if recipe.method not in known:
        raise ValueError(f"{where}: {_unknown('method', recipe.method, known)}")
    values, where = dict(recipe.objective), f"{where}: objective"
    base = _preset(recipe.method, values.pop("preset"), where) if "preset" in values else {}
    return build(_module(recipe.method).Objective, values, where, base)


def _check_roles(recipe: Recipe, needs: Set[str], where: str) -> None:
    """Refuse a recipe without the networks that its method needs."""
    for role in ("teacher", "critic"):
        if role in needs and getattr(recipe, role) is None:
            raise ValueError(f"{where}: '{role}' is missing: method {recipe.method} needs one")


def _preset(method: str, name: object, where: str) -> Mapping[str, Any]:
    """Return the hyperparameters of a published configuration, which the recipe's own replace."""
    if name not in PRESETS:
        raise ValueError(f"{where}: {_unknown('preset', str(name), PRESETS)}")
    found = PRESETS[str(name)]
    if found.method != method:
        raise ValueError(f"{where}: preset '{name}' is of method '{found.method}', not '{method}'")
    kind: Any = type(found.objective)
    return {entry.name: getattr(found.objective, entry.name) for entry in fields(kind)}


def methods() -> list[str]:
    """Return the names of all methods: the files of ``objectives`` that define one."""
    stems = [info.name for info in pkgutil.iter_modules(objectives.__path__)]
    return sorted(stem for stem in stems if _defines_method(_module(stem)))


def _defines_method(module: ModuleType) -> bool:
    kind = getattr(module, "Objective", None)
    return is_dataclass(kind) and getattr(kind, "__module__", None) == module.__name__


def _module(stem: str) -> ModuleType:
    return importlib.import_module(f"{objectives.__name__}.{stem}")


def build(
    kind: Any, values: Any, where: str, base: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """Make a dataclass from a mapping, strictly, nested dataclasses and tuples included.

    Args:
        kind: A dataclass.
        values: What the file holds at this place.
        where: File and key, for messages.
        base: Fields that hold where the file says nothing.

    Raises:
        ValueError: An unknown or missing key, or a value of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected a mapping, got {values!r}")
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind) if f.init}
    for key in values:
        if key not in known:
            raise ValueError(f"{where}: {_unknown('key', str(key), known)}")
    for name, entry in known.items():
        required = entry.default is MISSING and entry.default_factory is MISSING
        if required and name not in values and name not in base:
            raise ValueError(f"{where}: '{name}' is missing")
    made = {k: _convert(hints[k], v, f"{where}: {k}") for k, v in values.items()}
    try:
        return kind(**{**base, **made})
    except ValueError as fault:
        raise ValueError(f"{where}: {fault}") from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _convert_union(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where}: {_unknown('value', str(value), arguments)}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: expected a list, got {value!r}")
        inner = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(inner) != len(value):
            raise ValueError(f"{where}: expected {len(inner)} values, got {len(value)}")
        return tuple(
            _convert(kind, part, f"{where}[{i}]")
            for i, (kind, part) in enumerate(zip(inner, value, strict=True))
        )
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected a mapping, got {value!r}")
        return value
    if is_dataclass(hint):
        return build(hint, value, where)
    return _plain(hint, value, where)


def _plain(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is not Any and (
        not isinstance(value, hint) or isinstance(value, bool) != (hint is bool)
    ):
        raise ValueError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value


def _convert_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    choices = tuple(choice for choice in choices if choice is not type(None))
    if len(choices) == 1:
        return _convert(choices[0], value, where)
    if float in choices and not isinstance(value, Mapping):
        return _convert(float, value, where)
    laws = {_snake(choice.__name__): choice for choice in choices if choice is not float}
    if not isinstance(value, Mapping) or "law" not in value:
        raise ValueError(f"{where}: expected a mapping with 'law', one of {', '.join(laws)}")
    law = str(value["law"])
    if law not in laws:
        raise ValueError(f"{where}: {_unknown('law', law, laws)}")
    return build(laws[law], {k: v for k, v in value.items() if k != "law"}, where)


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


def _unknown(what: str, got: str, known: Any) -> str:
    choices = [str(choice) for choice in known]
    nearest = get_close_matches(got, choices, n=1)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return f"unknown {what} '{got}'. Available: {', '.join(choices)}.{hint}"
