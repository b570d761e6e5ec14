"""The oracle: reads an image of the laboratory back into a scene, from its pixels alone.

Analysis by synthesis in three steps (background, components, shapes), then the scene it read is
rendered again and compared with the image. Every component of at least MIN_AREA px becomes a
reading: what looks like no shape gets a low score, it is never dropped. See oracle_settings.py for
every threshold and reports/gallery/oracle for its accuracy.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcm_distill.lab import oracle_settings as settings
from rcm_distill.lab.grammar import COLORS, SHAPES
from rcm_distill.lab.layout import SIZE
from rcm_distill.lab.oracle_background import Background, fit_background, smooth
from rcm_distill.lab.oracle_fit import Fit, fit_shapes
from rcm_distill.lab.oracle_segment import Components, segment
from rcm_distill.lab.render import render
from rcm_distill.lab.world import Scenes


class Reading(NamedTuple):
    """One object as the oracle sees it.

    Attributes:
        name: Shape.
        color: Colour.
        score: Calibrated confidence that both are right, 0 to 1.
        box: x0, y0, x1, y1 in px, exclusive.
        xy: Centre in px.
        radius: Circumscribed radius in px.
        angle: Rotation in rad.
    """

    name: str
    color: str
    score: float
    box: tuple[int, int, int, int]
    xy: tuple[float, float]
    radius: float
    angle: float


class SceneReading(NamedTuple):
    """One image as the oracle sees it.

    Attributes:
        objects: Objects, by falling score.
        background: Parameters in the order of world.BACKGROUND.
        residual: Root mean square of image minus re-rendered scene, image range 0 to 1.
        high_frequency: Mean square of the image minus its 3 x 3 binomial blur, range 0 to 1.
        high_frequency_rendered: The same of the re-rendered scene.
    """

    objects: list[Reading]
    background: tuple[float, ...]
    residual: float
    high_frequency: float
    high_frequency_rendered: float


class Analysis(NamedTuple):
    """What the three steps found, and the confidence of every component (N,)."""

    background: Background
    parts: Components
    fit: Fit
    score: Tensor


class Features(NamedTuple):
    """What the confidence is made of: inputs of the two logistic functions, (N, 3) and (N, 2)."""

    shape: Tensor
    color: Tensor


def features(fit: Fit, parts: Components) -> Features:
    """Compute the inputs of the confidence, each with a leading column of ones."""
    one = torch.ones_like(fit.overlap)
    margin = torch.log(fit.margin + settings.MARGIN_OFFSET)
    return Features(
        shape=torch.stack([one, margin, fit.misfit], 1),
        color=torch.stack([one, parts.color_lead], 1),
    )


def _confidence(inputs: Features) -> Tensor:
    on_shape = torch.tensor(settings.SHAPE_WEIGHTS, device=inputs.shape.device)
    on_color = torch.tensor(settings.COLOR_WEIGHTS, device=inputs.color.device)
    return torch.sigmoid(inputs.shape @ on_shape) * torch.sigmoid(inputs.color @ on_color)


def analyse(images: Tensor) -> Analysis:
    """Fit images (B, 3, 40, 40) in [-1, 1]; the tensors behind ``read``."""
    background = fit_background(images)
    parts = segment(images, background.image)
    fit = fit_shapes(images, background.image, parts)
    score = _confidence(features(fit, parts))
    return Analysis(background=background, parts=parts, fit=fit, score=score)


def _as_scenes(num: int, analysis: Analysis) -> Scenes:
    """Arrange readings into scenes with as many slots as the fullest image needs."""
    image = analysis.parts.image
    counts = torch.bincount(image, minlength=num)
    slots = max(1, int(counts.max()))
    # Components are numbered image by image, so the slot is the place within the image.
    slot = torch.arange(len(image), device=image.device) - (counts.cumsum(0) - counts)[image]
    cls = torch.full((num, slots), -1, dtype=torch.long, device=image.device)
    color, values = cls.clone(), torch.zeros(num, slots, 4, device=image.device)
    cls[image, slot] = analysis.fit.cls
    color[image, slot] = analysis.parts.color
    values[image, slot] = analysis.fit.pose
    return Scenes(
        cls=cls,
        color=color,
        xy=values[..., :2],
        radius=values[..., 2],
        angle=values[..., 3],
        background=analysis.background.parameters,
    )


def high_frequency(images: Tensor) -> Tensor:
    """Return the mean square of what the binomial blur takes away, image range 0 to 1, (B,)."""
    return ((images - smooth(images)) / 2).square().mean((1, 2, 3))


def _objects(num: int, analysis: Analysis) -> list[list[Reading]]:
    fit, parts = analysis.fit, analysis.parts
    found: list[list[Reading]] = [[] for _ in range(num)]
    columns = (parts.image, fit.cls, parts.color, analysis.score, parts.box, fit.pose)
    for image, cls, color, score, box, pose in zip(*(c.tolist() for c in columns), strict=True):
        reading = Reading(
            name=SHAPES[cls],
            color=COLORS[color],
            score=score,
            box=(box[0], box[1], box[2], box[3]),
            xy=(pose[0], pose[1]),
            radius=pose[2],
            angle=pose[3],
        )
        found[image].append(reading)
    return [sorted(objects, key=lambda r: -r.score) for objects in found]


def _read_batch(images: Tensor) -> Iterator[SceneReading]:
    analysis = analyse(images)
    rendered = render(_as_scenes(len(images), analysis))
    residual = ((images - rendered) / 2).square().mean((1, 2, 3)).sqrt()
    yield from map(
        SceneReading,
        _objects(len(images), analysis),
        map(tuple, analysis.background.parameters.tolist()),
        residual.tolist(),
        high_frequency(images).tolist(),
        high_frequency(rendered).tolist(),
    )


@torch.no_grad()
def read(images: NDArray[np.uint8], device: torch.device | str = "cpu") -> list[SceneReading]:
    """Read images back into scenes.

    Args:
        images: uint8 (B, 40, 40, 3), RGB.
        device: Where the fits run (components are labelled on the CPU).

    Raises:
        ValueError: Shape or dtype is something else.
    """
    if images.ndim != 4 or images.shape[1:] != (SIZE, SIZE, 3) or images.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8 (B, {SIZE}, {SIZE}, 3), got {images.dtype} {images.shape}"
        )
    readings: list[SceneReading] = []
    for start in range(0, len(images), settings.BATCH):
        chunk = torch.from_numpy(np.ascontiguousarray(images[start : start + settings.BATCH]))
        pixels = chunk.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        readings.extend(_read_batch(pixels))
    return readings
