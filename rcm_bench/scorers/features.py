"""The scorer of one kind of features: stored samples to vectors, for measures between samples.

One metric, the kind's name: number of frames that were read (1 for an image). Its features are the
image's; of a video the mean over uniformly spaced frames, each of length 1 where directions are
compared, so that what moves within a video is apart from how videos differ. ``motion`` in the
details of a video: mean distance of neighbouring frames among them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from rcm_bench.environment import pick_device
from rcm_bench.errors import UserError, check_all
from rcm_bench.features import Extractor, FeatureSettings
from rcm_bench.features.real_images import RealFeatures, RealImages
from rcm_bench.media import decode
from rcm_bench.types import SampleRef, Score

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DIGITS = 6


class _Embedded(NamedTuple):
    features: "NDArray[np.float32]"
    motion: float | None


def loaded(settings: Any, where: str, device: str) -> Any:
    """Load what settings name, once in a process.

    Args:
        settings: Anything hashable with ``load(where, device)``.
        where: Key of the suite, for messages.
        device: Torch device.

    Raises:
        UserError: It cannot be loaded.
    """
    found = _loaded(settings, where, device)
    if isinstance(found, str):
        raise UserError(found)
    return found


@lru_cache(maxsize=8)
def _loaded(settings: Any, where: str, device: str) -> Any:
    """Load, or return what is wrong: a fault is not met anew for every sample."""
    try:
        return settings.load(where, device)
    except UserError as fault:
        return str(fault)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """Features of one kind.

    Args:
        kind: Name of the features, such as ``"dino"``.
        features: The network.
        frames: How many frames of a video are read.
        benchmark: Benchmark of the suite that names the network, for messages.
        real: Real images that the samples are also compared with.
    """

    kind: str
    features: FeatureSettings
    frames: int = 8
    benchmark: str = "feature_diversity"
    real: RealImages | None = None

    version: ClassVar[str] = "1"

    @property
    def name(self) -> str:
        """Name of the scorer."""
        return f"features: {self.kind}"

    @property
    def where(self) -> str:
        """Key of the suite, for messages."""
        return f"benchmarks.{self.benchmark}.{self.kind}"

    def settings(self) -> dict[str, Any]:
        """Return network, weights by digest, and how images and videos are prepared."""
        found = {**self.features.identity(), "frames": self.frames, "precision": "float32"}
        if self.real is not None:
            found["real_images"] = self.real.sha256
        preparation = getattr(self.features, "preparation", None)
        return found if preparation is None else {**found, "image": preparation().settings()}

    def check(self, where: str) -> None:
        """Refuse weights that are not there, before anything is sampled.

        Args:
            where: File, line and key of the benchmark.
        """
        checks: list[Callable[[], object]] = [lambda: self.features.check(f"{where}.{self.kind}")]
        if (real := self.real) is not None:
            checks.append(lambda: real.verified(f"{where}.real"))
        check_all(checks)

    def __call__(self, samples: Sequence[SampleRef]) -> Iterator[Score]:
        """Embed samples, one score each, in order.

        Raises:
            UserError: The network cannot be loaded, or a video cannot be read.
        """
        extractor: Extractor = loaded(self.features, self.where, pick_device())
        real = self._real_features()
        stacks = [spaced_frames(sample.path, self.frames) for sample in samples]
        for sample, stack, embedded in zip(
            samples, stacks, self._embedded(stacks, extractor), strict=True
        ):
            motion = embedded.motion
            yield Score(
                sample_digest=sample.digest,
                scorer=self.name,
                version=self.version,
                metric=self.kind,
                value=float(len(stack)),
                details={} if motion is None else {"motion": round(motion, DIGITS)},
                features=embedded.features,
                real_features=real,
            )

    def _real_features(self) -> bytes | None:
        """Return the features of the real images, made once in a process."""
        if self.real is None:
            return None
        where = f"benchmarks.{self.benchmark}.real"
        wanted = RealFeatures(images=self.real, features=self.features, where=where)
        found: bytes = loaded(wanted, self.where, pick_device())
        return found

    def _embedded(
        self, stacks: "Sequence[NDArray[np.uint8]]", extractor: Extractor
    ) -> Iterator[_Embedded]:
        """Embed all frames of samples of one size together, and give each sample its own."""
        found: dict[int, NDArray[np.float32]] = {}
        for shape in sorted({stack.shape[1:] for stack in stacks}):
            places = [i for i, stack in enumerate(stacks) if stack.shape[1:] == shape]
            features = extractor(np.concatenate([stacks[i] for i in places]))
            ends = np.cumsum([len(stacks[i]) for i in places])[:-1]
            found.update(zip(places, np.split(features, ends), strict=True))
        for place in range(len(stacks)):
            yield self._pooled(found[place])

    def _pooled(self, frames: "NDArray[np.float32]") -> _Embedded:
        """Return features of a sample from those of its frames (F, D)."""
        if not np.isfinite(frames).all():
            raise ValueError(f"{self.name}: features are not finite")
        if self.features.distance == "cosine":
            frames = frames / np.linalg.norm(frames, axis=1, keepdims=True)
        if len(frames) == 1:
            return _Embedded(frames[0], None)
        gaps = (np.diff(frames.astype(np.float64), axis=0) ** 2).sum(1)
        share = 0.5 if self.features.distance == "cosine" else 1.0
        return _Embedded(frames.mean(0), float(share * gaps.mean()))


def spaced_frames(path: "Path", frames: int) -> "NDArray[np.uint8]":
    """Read an image, or uniformly spaced frames of a video with both ends, shape (F, H, W, 3)."""
    if path.suffix != ".mp4":
        return decode(path)[None]
    from rcm_bench.video import read_video

    every = read_video(path).frames
    chosen = np.linspace(0, len(every) - 1, min(frames, len(every))).round().astype(int)
    spaced: NDArray[np.uint8] = every[chosen]
    return spaced
