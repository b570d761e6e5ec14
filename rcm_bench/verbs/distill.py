"""distill: train a network from a recipe; the trainer knows nothing of the harness."""

from pathlib import Path

from rcm_bench.environment import pick_device
from rcm_bench.errors import UserError, unknown
from rcm_bench.progress import progress
from rcm_bench.shipped import shipped
from rcm_bench.weights_files import find_weights


def distill(
    recipe: str | Path, out: str | Path | None = None, max_seconds: float | None = None
) -> Path:
    """Train from a recipe, or go on where an earlier session stopped.

    Args:
        recipe: Path of a recipe, or name of a shipped one.
        out: Folder of state, log, samples and weights; ``runs/train-<recipe>`` by default.
        max_seconds: Time of this session; None for as long as it takes.

    Returns:
        The file of the weights.

    Raises:
        UserError: The recipe, its teacher or the time limit is wrong.
    """
    if max_seconds is not None and max_seconds <= 0:
        raise UserError(f"--max-seconds: expected a positive number, got {max_seconds}")
    path = find_recipe(str(recipe))
    from rcm_bench.validation import Validation
    from rcm_distill.train import load_recipe, train

    try:
        loaded = load_recipe(path)
    except ValueError as fault:
        raise UserError(str(fault)) from None
    teacher = None
    if loaded.teacher is not None:
        teacher = find_weights(loaded.teacher, path.parent, f"{path}: teacher")
    folder = Path(out) if out is not None else Path("runs") / f"train-{loaded.recipe}"
    folder.mkdir(parents=True, exist_ok=True)
    reached = 0
    with progress(f"Training {loaded.recipe}", loaded.steps, "steps") as advance:

        def show(step: int, _: int, __: object) -> None:
            nonlocal reached
            advance(step - reached)
            reached = step

        try:
            done = train(
                loaded,
                folder,
                device=pick_device(),
                teacher=teacher,
                max_seconds=float("inf") if max_seconds is None else max_seconds,
                validate=Validation(teacher=loaded.teacher is None, sheets=folder / "samples"),
                progress=show,
                data=None if loaded.data.file is None else path.parent / loaded.data.file,
            )
        except (ValueError, FloatingPointError) as fault:
            raise UserError(str(fault)) from None
    return done.weights


def find_recipe(name: str) -> Path:
    """Return the file of a recipe given as a path or as the name of a shipped one.

    Raises:
        UserError: There is no such file and no such shipped recipe.
    """
    path, folder = Path(name), shipped("suites") / "recipes"
    if path.name == name and not path.suffix and (folder / f"{name}.yaml").is_file():
        return folder / f"{name}.yaml"
    if not path.is_file():
        known = [found.stem for found in folder.glob("*.yaml")]
        raise UserError(f"{name}: no such recipe, and {unknown('recipe', path.stem, known)}")
    return path
