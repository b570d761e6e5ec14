"""Whether a detector gives sane confidences on this machine: asked of a photograph and of nothing.

On some GPUs the official detector's confidences came out near zero (djghosh13/geneval, issue 15),
and every score with them. matplotlib brings a portrait of one person, whom a detector of COCO's
classes must find with confidence; on an even grey picture it must find nothing.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rcm_bench.detectors.settings import Mask2FormerSettings
from rcm_bench.errors import UserError
from rcm_bench.types import Detection

if TYPE_CHECKING:
    from numpy.typing import NDArray

PHOTO = "grace_hopper.jpg"
PHOTO_SHA256 = "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130"
PERSON = (13.0, 22.0, 512.0, 600.0)
"""The person's box in the photograph, drawn by hand."""
SURE = 0.7
"""A confidence that any trained detector exceeds on the portrait; the fault gives about 0."""
OVERLAP = 0.7
NOTHING = 0.7
VARIABLE = "GENEVAL_SUITE"
"""Environment variable that names the suite whose detector ``doctor`` tests."""
DIGITS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTest:
    """What came of it.

    Args:
        person: Highest confidence of a person where the person is.
        best: Highest confidence of anything in the photograph.
        nothing: Highest confidence of anything in the grey picture.
    """

    person: float
    best: float
    nothing: float

    @property
    def passed(self) -> bool:
        """Return True if the confidences are sane."""
        return self.person > SURE and self.nothing <= NOTHING

    def __str__(self) -> str:
        """Say what was found, and what was expected where it is not that."""
        found = f"person {self.person:.{DIGITS}f} on a portrait of one"
        if self.person <= SURE:
            found += f" (expected above {SURE}; the highest of anything is {self.best:.{DIGITS}f})"
        if self.nothing > NOTHING:
            found += f", {self.nothing:.{DIGITS}f} on plain grey (expected at most {NOTHING})"
        return found


def self_test(detect: Callable[..., list[list[Detection]]]) -> SelfTest:
    """Ask a detector of the photograph and of plain grey.

    Args:
        detect: Called as ``detect(images, masks=[()], threshold=0.0)``, as a `Mask2Former` is.

    Raises:
        UserError: The photograph is not there or is another one.
    """
    photo = photograph()
    grey = np.full_like(photo, 128)
    on_photo, on_grey = (
        detect(image[None], masks=[()], threshold=0.0)[0] for image in (photo, grey)
    )
    people = [d for d in on_photo if d.name == "person" and _overlap(d.box, PERSON) > OVERLAP]
    return SelfTest(person=_highest(people), best=_highest(on_photo), nothing=_highest(on_grey))


def _highest(found: Sequence[Detection]) -> float:
    return max((float(d.score) for d in found), default=0.0)


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(float(width), 0.0) * max(float(height), 0.0)
    areas = [float((c[2] - c[0]) * (c[3] - c[1])) for c in (a, b)]
    return both / (sum(areas) - both)


def photograph() -> "NDArray[np.uint8]":
    """Return matplotlib's portrait of Grace Hopper, 600 by 512 pixels.

    Raises:
        UserError: This matplotlib has none, or another one.
    """
    import matplotlib
    from PIL import Image

    path = Path(matplotlib.get_data_path()) / "sample_data" / PHOTO
    try:
        data = path.read_bytes()
    except OSError:
        raise UserError(f"the detector's self-test needs matplotlib's {PHOTO}: {path}") from None
    if (got := hashlib.sha256(data).hexdigest()) != PHOTO_SHA256:
        raise UserError(f"{path}: expected SHA-256 {PHOTO_SHA256}, got {got}")
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


class Finding(NamedTuple):
    """One line of ``doctor``."""

    name: str
    good: bool
    found: str
    mend: str


def doctors_finding() -> Finding:
    """Test the detector of the suite that the environment variable names, for ``doctor``."""
    name = "GenEval detector"
    suite = os.environ.get(VARIABLE)
    if not suite:
        how = f"{VARIABLE}=<a suite with 'detector: {{kind: mask2former, ...}}'> rcm-bench doctor"
        return Finding(name, False, "not tested on this machine", how)
    try:
        result = _of_suite(suite)
    except UserError as fault:
        return Finding(name, False, str(fault), f"mend {suite}")
    mend = "" if result.passed else "try another GPU or the CPU; check the weights' SHA-256"
    return Finding(name, result.passed, f"self-test: {result}", mend)


def _of_suite(suite: str) -> SelfTest:
    from rcm_bench.environment import pick_device
    from rcm_bench.prepare import make_benchmarks
    from rcm_bench.suite_load import load_suite

    loaded = load_suite(suite)
    made: Any
    for made in make_benchmarks(loaded.suite, loaded.where):
        if made.name == "geneval" and isinstance(made.detector, Mask2FormerSettings):
            from rcm_bench.detectors.mask2former import Mask2Former
            from rcm_bench.detectors.mask2former_weights import load_model

            model = load_model(made.detector, loaded.place("benchmarks", "geneval", "detector"))
            return self_test(Mask2Former(model, pick_device()))
    raise UserError(f"{suite}: has no benchmark 'geneval' with a Mask2Former detector")
