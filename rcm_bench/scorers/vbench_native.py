"""Seven dimensions of VBench natively: each video is decoded once, and every network lies ready.

Value: the video's own value on the scale of the dimension's score. Details: ``numerator`` and
``denominator``, whose sums over videos give the dimension as the package takes it together; for
flickering under VBench's own prompts also ``static``: whether the static filter keeps the video.
Which five of the static ones count is decided over all videos of a prompt, not here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rcm_bench.errors import UserError
from rcm_bench.types import PromptRecord, SampleRef, Score
from rcm_bench.vbench.native.weights import NEEDED, WeightFiles

if TYPE_CHECKING:
    from rcm_bench.video import Video

FLICKERING = "temporal_flickering"
STYLE = "appearance_style"
FLOW = ("dynamic_degree", FLICKERING)
LEAST_FRAMES = {"subject_consistency": 2, "background_consistency": 2, FLICKERING: 2}


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Native dimensions of VBench on stored MP4 videos.

    Args:
        dimensions: Which of the seven.
        weights: SHA-256 of weight files, by name below the folder.
        device: Torch device.
        folder: Folder of weight files, laid out as the package's cache; by default that cache.
    """

    dimensions: tuple[str, ...]
    weights: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    folder: Path | None = None

    name: ClassVar[str] = "vbench_native"
    version: ClassVar[str] = "1"

    def settings(self) -> dict[str, Any]:
        """Return the dimensions and the digests of the weights that they need."""
        files = self.files()
        needed = sorted({name for own in self.dimensions for name in NEEDED[own]})
        return {
            "dimensions": list(self.dimensions),
            "weights": {name: files.digest(name) or "not pinned" for name in needed},
        }

    def applies(self, prompt: PromptRecord) -> bool:
        """Say whether any of the dimensions is scored on videos of a prompt."""
        return bool(self._concerned(prompt.metadata))

    def files(self) -> WeightFiles:
        """Return the weight files."""
        folder = self.folder
        if folder is None:
            from rcm_bench.vbench.native.weights import cache_folder

            folder = cache_folder()
        return WeightFiles(folder=folder, digests=self.weights)

    def __call__(self, samples: Sequence[SampleRef]) -> Iterator[Score]:
        """Score videos in order, one score for each dimension that a video's prompt is for.

        A video that cannot be read, or is too short or too small for a dimension, is unscored with
        the reason.

        Args:
            samples: Stored videos.

        Raises:
            UserError: Weights or libraries that a dimension needs are not there.
        """
        for sample in samples:
            concerned = self._concerned(sample.metadata)
            try:
                video = self._read(sample.path)
            except UserError as fault:
                for dimension in concerned:
                    yield self._unscored(sample, dimension, str(fault))
                continue
            for dimension in concerned:
                yield self._score(sample, dimension, video)

    def _read(self, path: Path) -> "Video":
        from rcm_bench.video import read_video

        return read_video(path)

    def _concerned(self, metadata: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the dimensions for a prompt: all but style where the prompt is not VBench's."""
        known = metadata.get("vbench")
        if known is None:
            return tuple(name for name in self.dimensions if name != STYLE)
        return tuple(name for name in self.dimensions if name in known["dimensions"])

    def _score(self, sample: SampleRef, dimension: str, video: "Video") -> Score:
        why = _unfit(dimension, video)
        if why is not None:
            return self._unscored(sample, dimension, f"{sample.path.name}: {why}")
        raise NotImplementedError

    def _unscored(self, sample: SampleRef, dimension: str, reason: str) -> Score:
        return Score(
            sample_digest=sample.digest,
            scorer=self.name,
            version=self.version,
            metric=dimension,
            value=None,
            reason=reason,
        )
