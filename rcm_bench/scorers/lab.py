"""The shapes laboratory's scorer: the oracle reads every image once and four scores come of it.

| metric | value | details |
|---|---|---|
| correct | 1 or 0, GenEval's rules | boxes [[x0, y0, x1, y1, score, "red circle"], ...], correct |
| psnr | dB of the image against its re-rendered scene | |
| sharpness | high-frequency energy over the re-rendered scene's | image, rendered: the energies |
| scene | number of objects that count | what diversity compares, and the world's own dispersion |

Details of ``scene``: ``slots``, one {name, color, xy, radius, free} for each object that the prompt
names, None where it was not found (``free``: the prompt leaves the colour open);
``exchangeable``: all have one name (counting); ``tone`` of the background; ``truth``, the
expected differences by attribute, None where the prompt fixes it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from rcm_bench import geneval_rules
from rcm_bench.geneval_rules import judge, kept
from rcm_bench.media import decode
from rcm_bench.types import Detection, SampleRef, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rcm_distill.lab.grammar import Prompt
    from rcm_distill.lab.oracle import Reading, SceneReading

METRICS = ("correct", "psnr", "sharpness", "scene")
BATCH = 64
LEAST_RESIDUAL = 1e-5
"""The PSNR ends at 100 dB; rounding to 8 bits alone leaves about 59 dB."""
DIGITS = 5
"""Values are rounded, so that the company an image is read in cannot be seen in them."""


class _Value(NamedTuple):
    value: float | None
    reason: str | None = None
    details: Mapping[str, Any] = {}


class _Found(NamedTuple):
    """Detections for the rules, and the readings behind them."""

    detections: list[Detection]
    readings: dict[Detection, "Reading"]


def _found(scene: "SceneReading") -> _Found:
    detections = [
        Detection(name=r.name, score=r.score, box=tuple(map(float, r.box)))  # type: ignore[arg-type]
        for r in scene.objects
    ]
    readings = dict(zip(detections, scene.objects, strict=True))
    return _Found(detections=detections, readings=readings)


def _correct(found: _Found, metadata: Mapping[str, Any]) -> _Value:
    verdict = judge(
        found.detections, metadata, lambda some: [found.readings[d].color for d in some]
    )
    boxes = [
        [*d.box, round(d.score, DIGITS), f"{found.readings[d].color} {d.name}"]
        for d in found.detections
    ]
    details = {"correct": verdict.correct, "boxes": boxes}
    return _Value(float(verdict.correct), verdict.reason or None, details)


def _slots(found: _Found, prompt: "Prompt") -> list[dict[str, Any] | None]:
    """Match the objects that the prompt names: the most confident ones of each class."""
    objects = kept(found.detections, prompt.task)
    slots: list[dict[str, Any] | None] = []
    for clause in prompt.include:
        best = [found.readings[d] for d in objects.get(clause.name, ())[: clause.count]]
        slots += [
            {
                "name": r.name,
                "color": r.color,
                "xy": [round(v, DIGITS) for v in r.xy],
                "radius": round(r.radius, DIGITS),
                "free": clause.color is None,
            }
            for r in best
        ]
        slots += [None] * (clause.count - len(best))
    return slots


def _scene(found: _Found, scene: "SceneReading", prompt: "Prompt") -> _Value:
    from rcm_distill.lab.world import BACKGROUND, true_dispersion

    truth = true_dispersion(prompt)._asdict()
    tone = scene.background[list(BACKGROUND).index("tone")]
    details = {
        "slots": _slots(found, prompt),
        "exchangeable": prompt.task == "counting",
        "tone": round(tone, DIGITS) if math.isfinite(tone) else None,
        "truth": {k: None if math.isnan(v) else float(v) for k, v in truth.items()},
    }
    return _Value(float(sum(map(len, kept(found.detections, prompt.task).values()))), None, details)


def _sharpness(scene: "SceneReading") -> _Value:
    """Keep both energies: the ratio of one image runs away where almost nothing was drawn."""
    image, rendered = scene.high_frequency, scene.high_frequency_rendered
    details = {"image": float(f"{image:.{DIGITS}g}"), "rendered": float(f"{rendered:.{DIGITS}g}")}
    if rendered == 0:
        return _Value(None, "the re-rendered scene has no detail", details)
    return _Value(round(image / rendered, DIGITS), None, details)


def _values(scene: "SceneReading", sample: SampleRef) -> dict[str, _Value]:
    from rcm_distill.lab.grammar import parse

    found = _found(scene)
    psnr = -20 * math.log10(max(scene.residual, LEAST_RESIDUAL))
    values = {"psnr": _Value(round(psnr, DIGITS)), "sharpness": _sharpness(scene)}
    try:
        prompt = parse(sample.prompt)
    except ValueError as fault:
        why = _Value(None, f"not a prompt of the laboratory: {fault}")
        return {**values, "correct": why, "scene": why}
    metadata = prompt.metadata()
    return {
        **values,
        "correct": _correct(found, metadata),
        "scene": _scene(found, scene, prompt),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """GenEval's rules, fine detail and the scene behind each image, from one reading of it.

    Args:
        device: Where the oracle's fits run.
    """

    device: str = "cpu"

    name: ClassVar[str] = "lab"
    version: ClassVar[str] = "2"

    def settings(self) -> dict[str, Any]:
        """Return the oracle's and the rules' thresholds."""
        from rcm_distill.lab import oracle_settings

        oracle = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(oracle_settings).items()
            if name.isupper()
        }
        rules = ("THRESHOLD", "COUNTING_THRESHOLD", "MAX_OBJECTS", "POSITION_THRESHOLD")
        return {
            "oracle": oracle,
            "rules": {name.lower(): getattr(geneval_rules, name) for name in rules},
        }

    def __call__(self, samples: Sequence[SampleRef]) -> Iterator[Score]:
        """Score samples, four scores each, in order.

        An image of another size, or a prompt that is not of the laboratory's grammar, is unscored
        with the reason.

        Args:
            samples: Stored samples.
        """
        for start in range(0, len(samples), BATCH):
            chunk = samples[start : start + BATCH]
            yield from self.score_images(chunk, [decode(sample.path) for sample in chunk])

    def score_images(
        self, samples: Sequence[SampleRef], images: "Sequence[NDArray[np.uint8]]"
    ) -> Iterator[Score]:
        """Score samples whose images (S, S, 3) are at hand; their paths are not read."""
        from rcm_distill.lab.layout import SIZE
        from rcm_distill.lab.oracle import read

        fits = [image.shape == (SIZE, SIZE, 3) for image in images]
        good = [image for image, fit in zip(images, fits, strict=True) if fit]
        scenes = iter(read(np.stack(good), self.device) if good else ())
        for sample, image, fit in zip(samples, images, fits, strict=True):
            size = f"expected an image of {SIZE}x{SIZE} px, got {image.shape[1]}x{image.shape[0]}"
            values = (
                _values(next(scenes), sample) if fit else dict.fromkeys(METRICS, _Value(None, size))
            )
            for metric in METRICS:
                value = values[metric]
                yield Score(
                    sample_digest=sample.digest,
                    scorer=self.name,
                    version=self.version,
                    metric=metric,
                    value=value.value,
                    reason=value.reason,
                    details=value.details,
                )
