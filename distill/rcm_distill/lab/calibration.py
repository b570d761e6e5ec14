"""Fits the oracle's confidence by logistic regression: P(class right) P(colour right).

The set for classes: scenes of the world under every MILD damage, and 0.4 times as many images whose
blobs are no shape, damaged likewise, each of which is wrong by definition. Severe damage is left
out on purpose: what is that hard to see shall get a low score even where the guess is right. The
set for colours has no such images and the severe damage too, for colours are only lost there.
Run ``python -m rcm_distill.lab.calibration`` to print the weights that oracle_settings.py holds.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from rcm_distill.lab import oracle_settings as settings
from rcm_distill.lab.damage import MILD, SEVERE, Bytes, no_shapes
from rcm_distill.lab.oracle import Analysis, Features, analyse, features
from rcm_distill.lab.render import render, to_uint8
from rcm_distill.lab.world import Scenes, sample_training

REACH = 4.0  # px; a reading belongs to the nearest true object within this distance
SEED = 20_260_102
NUM_SCENES = 240  # per damage
NUM_NO_SHAPES = 96  # per damage
EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)


class Truth(NamedTuple):
    """Whether readings name the class and the colour of the object they lie on, bool (N,)."""

    cls: Tensor
    color: Tensor


class Graded(NamedTuple):
    """Readings with the inputs of their confidence, the truth, and the score given, (N, ...)."""

    shape: Tensor
    color: Tensor
    cls_right: Tensor
    color_right: Tensor
    score: Tensor


def to_images(images: Bytes) -> Tensor:
    """Return images (B, 3, S, S) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def compare(scenes: Scenes, analysis: Analysis) -> Truth:
    """Compare readings with the true object nearest to each, none if it is REACH px away."""
    image, fit = analysis.parts.image, analysis.fit
    away = torch.linalg.vector_norm(scenes.xy[image] - fit.pose[:, None, :2], dim=-1)
    nearest = away.masked_fill(scenes.cls[image] < 0, torch.inf).min(1)
    row, near = torch.arange(len(image)), nearest.values < REACH
    cls = scenes.cls[image][row, nearest.indices] == fit.cls
    color = scenes.color[image][row, nearest.indices] == analysis.parts.color
    return Truth(cls=cls & near, color=color & near)


def _grade(images: Bytes, scenes: Scenes | None) -> Graded:
    """Read images and grade every reading; without scenes every class is wrong."""
    rows = []
    for start in range(0, len(images), settings.BATCH):
        stop = start + settings.BATCH
        analysis = analyse(to_images(images[start:stop]))
        inputs: Features = features(analysis.fit, analysis.parts)
        never = torch.zeros(len(analysis.score), dtype=torch.bool)
        truth = Truth(never, never)
        if scenes is not None:
            truth = compare(Scenes(*(t[start:stop] for t in scenes)), analysis)
        rows.append(Graded(inputs.shape, inputs.color, truth.cls, truth.color, analysis.score))
    return join(rows)


def join(rows: list[Graded]) -> Graded:
    """Concatenate graded readings."""
    return Graded(*(torch.cat(column) for column in zip(*rows, strict=True)))


class CalibrationSet(NamedTuple):
    """Graded readings: scenes under mild and severe damage, and images of no shapes."""

    mild: Graded
    severe: Graded
    no_shapes: Graded


def calibration_set(seed: int, scale: float = 1.0) -> CalibrationSet:
    """Draw scenes and images of no shapes, damage them, and grade the readings."""
    generator, rng = Generator().manual_seed(seed), np.random.default_rng(seed)
    groups: dict[str, list[Graded]] = {"mild": [], "severe": [], "no_shapes": []}
    for damage in (*MILD, *SEVERE):
        scenes = sample_training(int(scale * NUM_SCENES), generator).scenes
        graded = _grade(damage(to_uint8(render(scenes)), rng), scenes)
        groups["mild" if damage in MILD else "severe"].append(graded)
    for index, damage in enumerate(MILD):
        scenes = sample_training(int(scale * NUM_NO_SHAPES), generator).scenes
        groups["no_shapes"].append(_grade(damage(no_shapes(scenes, seed + index), rng), None))
    return CalibrationSet(**{name: join(rows) for name, rows in groups.items()})


def fit_logistic(x: Tensor, right: Tensor, ridge: float = 1e-7) -> NDArray[np.float64]:
    """Maximise the likelihood of a logistic model by Newton steps, fp64.

    Args:
        x: Features with a leading column of ones, (N, F).
        right: Outcomes, bool (N,).
        ridge: Penalty per weight and observation.
    """
    x, y = x.double(), right.double()
    weights = torch.zeros(x.shape[1], dtype=torch.float64)
    for _ in range(30):
        p = torch.sigmoid(x @ weights)
        gradient = x.T @ (y - p) / len(y) - ridge * weights
        hessian = (x * (p * (1 - p)).unsqueeze(1)).T @ x / len(y)
        hessian += ridge * torch.eye(len(weights), dtype=torch.float64)
        weights = weights + torch.linalg.solve(hessian, gradient)
    fitted: NDArray[np.float64] = weights.numpy()
    return fitted


def reliability(graded: Graded) -> list[str]:
    """Say for bins of the score how often class and colour are right."""
    right = graded.cls_right & graded.color_right
    lines = []
    for low, high in zip(EDGES, EDGES[1:], strict=False):
        inside = (graded.score >= low) & (graded.score < high + 1e-6 * (high == 1))
        said, was = graded.score[inside].mean(), right[inside].float().mean()
        lines.append(f"| {low:g} to {high:g} | {int(inside.sum())} | {said:.3f} | {was:.3f} |")
    return lines


@torch.no_grad()
def main() -> None:
    """Fit and print the weights, then how reliable those in use are on fresh images."""
    train = calibration_set(SEED)
    classes = join([train.mild, train.no_shapes])
    colors = join([train.mild, train.severe])
    for name, x, right in (
        ("SHAPE_WEIGHTS", classes.shape, classes.cls_right),
        ("COLOR_WEIGHTS", colors.color, colors.color_right),
    ):
        print(name, "=", tuple(round(w, 2) for w in fit_logistic(x, right).tolist()))
    fresh = calibration_set(SEED + 1000, 0.5)
    print("\n".join(reliability(join([fresh.mild, fresh.no_shapes]))))


if __name__ == "__main__":
    main()
