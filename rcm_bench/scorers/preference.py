"""The scorer of networks that give one number to an image and its prompt, or to the image alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from rcm_bench.environment import pick_device
from rcm_bench.scorers.features import loaded, spaced_frames
from rcm_bench.types import SampleRef, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIGITS = 6
"""Values are rounded, so that the company an image is read in cannot be seen in them."""


class Judge(Protocol):
    """Gives each image (B, H, W, 3) a number, in the light of its prompt."""

    def __call__(
        self, images: "NDArray[np.uint8]", prompts: Sequence[str]
    ) -> "NDArray[np.float32]":
        """Return (B,) numbers."""
        ...


class JudgeSettings(Protocol):
    """Which network, and where its weights lie."""

    def __hash__(self) -> int:
        """Equal settings are loaded once."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return all that a score depends on, digests of weights too."""
        ...

    def check(self, where: str) -> None:
        """Raise UserError for files that are not there or have other digests."""
        ...

    def load(self, where: str, device: str) -> Judge:
        """Load the network; raise UserError if something is missing or does not fit."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """One number for each sample; of a video the mean over uniformly spaced frames.

    Args:
        name: Name of the scorer and of its metric, such as ``"clip_score"``.
        judge: The network.
        frames: How many frames of a video are read.
    """

    name: str
    judge: JudgeSettings
    frames: int = 8

    version: ClassVar[str] = "1"

    @property
    def where(self) -> str:
        """Key of the suite, for messages."""
        return f"benchmarks.{self.name}.network"

    def settings(self) -> dict[str, Any]:
        """Return the network, its weights by digest."""
        return {**self.judge.identity(), "frames": self.frames, "precision": "float32"}

    def check(self, where: str) -> None:
        """Refuse weights that are not there, before anything is sampled.

        Args:
            where: File, line and key of the benchmark.
        """
        self.judge.check(f"{where}.network")

    def __call__(self, samples: Sequence[SampleRef]) -> Iterator[Score]:
        """Score samples, one score each, in order.

        Raises:
            UserError: The network cannot be loaded, or a video cannot be read.
        """
        judge: Judge = loaded(self.judge, self.where, pick_device())
        for sample in samples:
            frames = spaced_frames(sample.path, self.frames)
            values = judge(frames, [sample.prompt] * len(frames))
            yield Score(
                sample_digest=sample.digest,
                scorer=self.name,
                version=self.version,
                metric=self.name,
                value=round(float(np.mean(values)), DIGITS),
            )
