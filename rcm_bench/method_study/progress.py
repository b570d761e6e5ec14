"""What has been trained: curves of validation, what the search chose, who converged."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rcm_bench.method_study.study import Rule
from rcm_bench.method_study.trainings import Training
from rcm_bench.method_study.turns import DIVERGED, RECORD


class Verdict(NamedTuple):
    """Whether a method converged, by the rule of its study.

    Attributes:
        converged: Whether it is ranked.
        gain: Rise of the line through the end of its curve; NaN where there is none.
        reason: In words.
    """

    converged: bool
    gain: float
    reason: str


def is_done(out: Path, training: Training) -> bool:
    """Return whether a training has reached its last iteration and is validated."""
    card = record(out, training)
    return card is not None and bool(card["steps"] >= card["steps_planned"])


def reached(out: Path, training: Training) -> int:
    """Return the iteration at which a training that was stopped will go on."""
    from rcm_distill.train.state import read_facts

    path = out / "trainings" / training.name / "state.safetensors"
    return int(read_facts(path)["step"]) if path.exists() else 0


def record(out: Path, training: Training) -> dict[str, Any] | None:
    """Return what a finished training has left: its card, and how long it had the device."""
    path = out / "trainings" / training.name / RECORD
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def weights_of(out: Path, training: Training, snapshot: int | None = None) -> Path:
    """Return where the weights of a training lie, or those of its snapshot."""
    tail = "" if snapshot is None else f"-{snapshot}-updates"
    return out / "trainings" / training.name / f"{training.name}{tail}.safetensors"


def curve(out: Path, training: Training) -> pd.DataFrame:
    """Return the validation of a training: step, seconds, student_updates, accuracy and its parts.

    ``accuracy`` is the mean over the numbers of sampling steps.
    """
    path = out / "trainings" / training.name / "validation.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = pd.DataFrame([json.loads(line) for line in lines])
    if rows.empty:
        return pd.DataFrame(columns=["step", "seconds", "student_updates", "accuracy"])
    parts = [name for name in rows.columns if name.startswith("geneval_")]
    return rows.assign(accuracy=rows[parts].mean(axis=1))


def failure(out: Path, training: Training) -> str | None:
    """Return why a training diverged and will not go on; None where it has not."""
    path = out / "trainings" / training.name / DIVERGED
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def is_settled(out: Path, training: Training) -> bool:
    """Return whether a training is done, or has diverged."""
    return is_done(out, training) or failure(out, training) is not None


def choose(out: Path, trials: Sequence[Training]) -> dict[str, Any]:
    """Return the settings of the trial that ended with the best validation.

    The last validation counts, mean over 1, 2 and 4 steps; the first of equals wins. A trial that
    diverged counts as 0.

    Args:
        out: Folder of the study.
        trials: The trials of one method.

    Raises:
        ValueError: A trial is not there yet.
    """
    scores = [trial_score(out, trial) for trial in trials]
    return dict(trials[int(np.argmax(scores))].settings)


def trial_score(out: Path, trial: Training) -> float:
    """Return the accuracy at the end of a trial.

    Raises:
        ValueError: The trial is not finished.
    """
    if failure(out, trial) is not None:
        return 0.0
    if not is_done(out, trial):
        raise ValueError(f"{trial.name} is not finished: the search chooses among equal budgets")
    return float(curve(out, trial)["accuracy"].iloc[-1])


def judge(curves: Sequence[pd.DataFrame], steps: int, rule: Rule) -> Verdict:
    """Say whether a method converged, from the curves of its training seeds.

    Args:
        curves: One curve for each training seed.
        steps: Iterations that were planned.
        rule: The rule of the study.
    """
    if any(own.empty or own["step"].iloc[-1] < steps for own in curves):
        return Verdict(False, float("nan"), "unconverged: a training did not reach its end")
    ends = [own[own["step"] >= (1 - rule.window) * steps] for own in curves]
    fewest = min(len(own) for own in ends)
    if fewest < rule.points:
        reason = f"unconverged: {fewest} validations at the end, {rule.points} are needed"
        return Verdict(False, float("nan"), reason)
    where = pd.concat(ends)
    level = float(where["accuracy"].mean())
    if not level >= rule.least:
        reason = f"unconverged: {level:.3f} right at the end, {rule.least:g} is the least"
        return Verdict(False, float("nan"), reason)
    slope = float(np.polyfit(where["step"] / steps, where["accuracy"], 1)[0])
    gain = slope * rule.window
    if abs(gain) > rule.gain:
        way = "rising" if gain > 0 else "falling"
        last = f"{way} by {abs(gain):.3f} over the last {rule.window:.0%} of training"
        return Verdict(False, gain, f"unconverged: still {last}, {rule.gain:g} is allowed")
    return Verdict(
        True, gain, f"converged: {gain:+.3f} over the last {rule.window:.0%} of training"
    )
