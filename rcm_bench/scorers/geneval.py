"""GenEval's scorer: Mask2Former finds, CLIP names colours, GenEval's rules judge.

One metric, ``correct``: 1 or 0, with GenEval's reason. Its details: ``correct``; ``boxes``, {class:
[[x0, y0, x1, y1, score], ...]} of what counted; ``colours``, {class: [names]} where they were asked
for; ``self_test``, the detector's confidence on a known image.

The rules are exact. The detections are the official ones only with the official weights, and even
then up to rounding of another implementation: the settings say which weights they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from rcm_bench import geneval_rules
from rcm_bench.detectors.settings import ColourSettings, Mask2FormerSettings
from rcm_bench.environment import pick_device
from rcm_bench.errors import UserError, check_all, unknown
from rcm_bench.geneval_images import ImageError, read_ahead
from rcm_bench.geneval_prompts import NAMES
from rcm_bench.geneval_results import check_metadata
from rcm_bench.geneval_rules import coloured, judge
from rcm_bench.types import Detection, SampleRef, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rcm_bench.detectors.mask2former import Mask2Former
    from rcm_bench.geneval_colours import Colours, Crop

DETECTOR_KEY, COLOURS_KEY = "benchmarks.geneval.detector", "benchmarks.geneval.colours"
THREADS = 8
DIGITS = 6
"""Scores are rounded in details, so that a sample's company in its batch cannot be seen in them."""


class Models(NamedTuple):
    """What judges images, loaded and tested on this machine.

    Attributes:
        detector: Finds objects.
        colours: Names their colours.
        self_test: The detector's confidence on the known image.
    """

    detector: "Mask2Former"
    colours: "Colours"
    self_test: float


def load(detector: Mask2FormerSettings, colours: ColourSettings, device: str) -> Models:
    """Load the models once in a process, and see that the detector works here.

    Raises:
        UserError: Something is missing or does not fit, or the self-test fails; it is not tried
            again in this process.
    """
    found = _loaded(detector, colours, device)
    if isinstance(found, str):
        raise UserError(found)
    return found


@lru_cache(maxsize=1)
def _loaded(detector: Mask2FormerSettings, colours: ColourSettings, device: str) -> Models | str:
    from rcm_bench.detectors.mask2former import Mask2Former
    from rcm_bench.detectors.mask2former_weights import load_model
    from rcm_bench.geneval_colours import load_colours
    from rcm_bench.geneval_selftest import self_test

    try:
        finder = Mask2Former(load_model(detector, DETECTOR_KEY), device)
        result = self_test(finder)
        if not result.passed:
            return f"{DETECTOR_KEY}: self-test failed on this machine: {result}"
        namer = load_colours(colours, COLOURS_KEY, device)
    except UserError as fault:
        return str(fault)
    return Models(finder, namer, round(result.person, DIGITS))


class _Seen(NamedTuple):
    """What was found in one image."""

    sample: SampleRef
    detections: list[Detection]
    crops: "dict[int, Future[Crop]]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """GenEval on Mask2Former and CLIP.

    Args:
        detector: The detector's weights.
        colours: CLIP's weights.
    """

    detector: Mask2FormerSettings
    colours: ColourSettings = ColourSettings()

    version: ClassVar[str] = "1"

    @property
    def name(self) -> str:
        """Name that says whose detections these are."""
        weights = "mmdet" if self.detector.official else f"other, {self.detector.layout}"
        return f"Mask2Former (weights: {weights}; transformers) and CLIP ViT-L/14"

    def settings(self) -> dict[str, Any]:
        """Return the weights by digest, how images and texts are made, and the thresholds."""
        from rcm_bench.detectors import mask2former
        from rcm_bench.geneval_colours import MODEL, TEMPLATES

        rules = ("THRESHOLD", "COUNTING_THRESHOLD", "MAX_OBJECTS", "POSITION_THRESHOLD")
        return {
            "detector": {**_identity(self.detector), "agreement": self.agreement},
            "preprocessing": {
                "resize": "OpenCV bilinear to fit 1333x800",
                "padding": mask2former.PADDING,
                "divisor": mask2former.DIVISOR,
            },
            "pairs": mask2former.PAIRS,
            "colours": {"model": MODEL, "templates": list(TEMPLATES), **_identity(self.colours)},
            "precision": "float32 without TF32; colours under float16 autocast on CUDA",
            "rules": {name.lower(): getattr(geneval_rules, name) for name in rules},
        }

    @property
    def agreement(self) -> str:
        """Say how far the detections are the official ones."""
        if self.detector.official:
            return "the official weights in another implementation: equal up to rounding"
        return "not the official weights: close to GenEval, never exact GenEval"

    def check(self) -> None:
        """Refuse what is missing, before anything is sampled; nothing heavy is loaded.

        Raises:
            UserError: A package or a file is missing, or a file has another digest; of detector and
                colours, each in a line.
        """
        from rcm_bench.detectors.mask2former_weights import check_files
        from rcm_bench.geneval_colours import check_file

        check_all(
            [
                lambda: check_files(self.detector, DETECTOR_KEY),
                lambda: check_file(self.colours, COLOURS_KEY),
            ]
        )

    def __call__(self, samples: Sequence[SampleRef]) -> Iterator[Score]:
        """Score samples, one score each, in order.

        An image that is damaged, empty or of an odd size is unscored, with the reason.

        Args:
            samples: Stored samples of GenEval's prompts.

        Raises:
            UserError: The models cannot be loaded, the detector's self-test fails here, or a
                prompt's metadata is not GenEval's.
        """
        yield from self.scored(samples, load(self.detector, self.colours, pick_device()))

    def scored(self, samples: Sequence[SampleRef], models: Models) -> Iterator[Score]:
        """Score samples with models that are loaded already.

        Args:
            samples: As in `__call__`.
            models: What finds, names, and how its self-test went.
        """
        for sample in samples:
            check_prompt(sample.metadata, f"sample {sample.item_id}")
        with ThreadPoolExecutor(THREADS) as pool:
            faults: dict[str, str] = {}
            seen = list(_look(samples, models, pool, faults))
            scores = {
                each.sample.item_id: self._judged(each, names, models.self_test)
                for each, names in _named(seen, models)
            }
        for sample in samples:
            fault = faults.get(sample.item_id)
            judged = scores.get(sample.item_id)
            yield judged if judged is not None else self._score(sample, None, fault, {})

    def _judged(self, seen: _Seen, names: Mapping[int, str], self_test: float) -> Score:
        sample = seen.sample
        verdict = judge(seen.detections, sample.metadata, lambda some: [names[id(d)] for d in some])
        details: dict[str, Any] = {
            "correct": verdict.correct,
            "boxes": {
                name: [[*box[:4], round(box[4], DIGITS)] for box in boxes]
                for name, boxes in verdict.details.items()
            },
            "self_test": self_test,
        }
        asked = coloured(seen.detections, sample.metadata)
        if asked:
            details["colours"] = {name: [names[id(d)] for d in found] for name, found in asked}
        return self._score(sample, float(verdict.correct), verdict.reason or None, details)

    def _score(
        self, sample: SampleRef, value: float | None, reason: str | None, details: Mapping[str, Any]
    ) -> Score:
        return Score(
            sample_digest=sample.digest,
            scorer=self.name,
            version=self.version,
            metric="correct",
            value=value,
            reason=reason,
            details=details,
        )


def check_prompt(metadata: Mapping[str, Any], where: str) -> None:
    """Refuse a prompt that GenEval's rules cannot judge on this detector.

    Args:
        metadata: The prompt's record.
        where: What it is, for the message.

    Raises:
        UserError: It has no GenEval record, or asks for a class that the detector does not know.
    """
    check_metadata(dict(metadata), where)
    for clause in (*metadata["include"], *metadata.get("exclude", ())):
        if clause["class"] not in NAMES:
            raise UserError(f"{where}: {unknown('class', clause['class'], NAMES)}")


def _identity(settings: Mask2FormerSettings | ColourSettings) -> dict[str, Any]:
    """Return what says which weights they are; of a local file its digest, not its place."""
    given = settings.model_dump(mode="json", exclude_none=True)
    if settings.sha256 is not None:
        given.pop("weights")
    return given


def _look(
    samples: Sequence[SampleRef], models: Models, pool: Executor, faults: dict[str, str]
) -> Iterator[_Seen]:
    """Detect, images of equal size together; images that cannot be judged go to ``faults``."""
    waiting: dict[tuple[int, ...], list[tuple[SampleRef, NDArray[np.uint8]]]] = {}
    images = read_ahead([sample.path for sample in samples], pool)
    for sample, image in zip(samples, images, strict=True):
        if isinstance(image, ImageError):
            faults[sample.item_id] = str(image)
            continue
        group = waiting.setdefault(image.shape, [])
        group.append((sample, image))
        if len(group) == models.detector.batch:
            yield from _detected(waiting.pop(image.shape), models, pool)
    for group in waiting.values():
        yield from _detected(group, models, pool)


def _detected(
    group: "Sequence[tuple[SampleRef, NDArray[np.uint8]]]", models: Models, pool: Executor
) -> Iterator[_Seen]:
    wanted = [
        {c["class"] for c in sample.metadata["include"] if "color" in c} for sample, _ in group
    ]
    found = models.detector(np.stack([image for _, image in group]), masks=wanted)
    for (sample, image), detections in zip(group, found, strict=True):
        asked = [d for _, some in coloured(detections, sample.metadata) for d in some]
        crops = {id(d): pool.submit(models.colours.prepare, image, d) for d in asked}
        yield _Seen(sample, detections, crops)


def _named(seen: Sequence[_Seen], models: Models) -> Iterator[tuple[_Seen, dict[int, str]]]:
    """Name all colours at once, and give each image its own by the identity of the detection."""
    keys = [(place, key) for place, each in enumerate(seen) for key in each.crops]
    names = models.colours([seen[place].crops[key].result() for place, key in keys])
    by_image: list[dict[int, str]] = [{} for _ in seen]
    for (place, key), name in zip(keys, names, strict=True):
        by_image[place][key] = name
    yield from zip(seen, by_image, strict=True)
