"""Seven dimensions of VBench natively: each video is decoded once, each network loaded once.

Value: the video's own value on the scale of the dimension's score. Details: ``numerator`` and
``denominator``, whose sums over videos give the dimension as the package takes it together; for
flickering under a preset with the static filter also ``static``: whether the filter keeps the
video. Which five of the static ones count is decided over all videos of a prompt, not here; but as
in the package, no flow is computed for a video that five static ones come before.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rcm_bench.errors import UserError
from rcm_bench.types import SampleRef, Score
from rcm_bench.vbench.dimensions import CUSTOM, STATIC_VIDEOS
from rcm_bench.vbench.environment import weights_folder
from rcm_bench.vbench.native.flow import LEAST_SIDE
from rcm_bench.vbench.native.weights import NEEDED, RAFT, WeightFiles
from rcm_bench.vbench.presets import PRESETS

if TYPE_CHECKING:
    from rcm_bench.vbench.native.evaluate import Networks
    from rcm_bench.vbench.native.parts import Parts
    from rcm_bench.video import Video

FLICKERING, STYLE = "temporal_flickering", "appearance_style"
NOT_ASKED = "not asked: five static videos of the prompt come before"
"""In place of whether a video is static."""
LEAST_FRAMES: Mapping[str, int] = {
    "subject_consistency": 2,
    "background_consistency": 2,
    FLICKERING: 2,
}


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Native dimensions of VBench on stored MP4 videos.

    Args:
        dimensions: Which of the seven.
        weights: SHA-256 of weight files, by name below the folder.
        device: Torch device.
        mode: ``"custom_input"`` scores every dimension but style on videos of any prompt, without
            the static filter; ``"vbench_standard"`` on videos of the prompts that it is for;
            ``"i2v"`` so too, without the static filter (VBench-I2V).
        folder: Folder of weight files, laid out as the package's cache; by default that cache.
    """

    dimensions: tuple[str, ...]
    weights: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    mode: Literal["vbench_standard", "custom_input", "i2v"] = "vbench_standard"
    folder: Path | None = None

    name: ClassVar[str] = "vbench_native"
    version: ClassVar[str] = "1"
    by_prompt: ClassVar[bool] = True
    """All videos of a prompt come in one call, as the static filter stops at five of them."""

    @cached_property
    def files(self) -> WeightFiles:
        """The weight files."""
        folder = self.folder or weights_folder()
        benchmark = "vbench_i2v" if self.mode == "i2v" else "vbench"
        return WeightFiles(folder=folder, digests=self.weights, benchmark=benchmark)

    @cached_property
    def _networks(self) -> "Networks":
        from rcm_bench.vbench.native.evaluate import Networks

        return Networks(self.files, self.device)

    def needed(self) -> tuple[str, ...]:
        """Return the weight files that the dimensions read, in order."""
        names = {
            name
            for dimension in self.dimensions
            for name in NEEDED[dimension]
            if not (dimension == FLICKERING and self.mode != "vbench_standard")
        }
        return tuple(sorted(names))

    def check(self) -> None:
        """Hold every weight file that is needed to its digest, before anything is sampled.

        Raises:
            UserError: A file is not there, has another digest, or none is named for it.
        """
        self.files.check_all(self.needed())

    def settings(self) -> dict[str, Any]:
        """Return dimensions, mode and the digests that the weights must have."""
        return {
            "dimensions": list(self.dimensions),
            "mode": self.mode,
            "weights": {name: self.files.digest(name) or "not named" for name in self.needed()},
        }

    def __call__(self, samples: Sequence[SampleRef]) -> Iterator[Score]:
        """Score videos, one score for each dimension that the video's prompt is for.

        A video that cannot be read, or is too short or too small for a dimension, is unscored with
        the reason.

        Args:
            samples: Stored videos.

        Raises:
            UserError: Weights or libraries that a dimension needs are not there.
        """
        static = _Static(samples)
        for sample in sorted(samples, key=_place):
            own = self._dimensions_of(sample)
            if not own:
                reason = "the prompt is for other dimensions"
                yield self._made(sample, self.dimensions[0], None, reason, {})
                continue
            try:
                video = _read(sample.path)
            except UserError as fault:
                for dimension in own:
                    yield self._made(sample, dimension, None, str(fault), {})
                continue
            yield from self._score(sample, own, video, static)

    def _dimensions_of(self, sample: SampleRef) -> tuple[str, ...]:
        """Return the dimensions that a sample's prompt is for."""
        if self.mode == "custom_input":
            return tuple(name for name in self.dimensions if name in CUSTOM)
        known = sample.metadata.get("vbench", {}).get("dimensions", ())
        return tuple(name for name in self.dimensions if name in known)

    def _filtered(self, sample: SampleRef) -> bool:
        if self.mode != "vbench_standard":
            return False
        return PRESETS[sample.metadata["vbench"]["preset"]].static_filter

    def _score(
        self,
        sample: SampleRef,
        own: Sequence[str],
        video: "Video",
        static: "_Static",
    ) -> Iterator[Score]:
        from rcm_bench.vbench.native.evaluate import evaluate

        filtered = FLICKERING in own and self._filtered(sample)
        faults = {name: _unfit(name, video, filtered) for name in own}
        fit = tuple(name for name in own if faults[name] is None)
        parts = evaluate(video, fit, self._networks, _style(sample) if STYLE in fit else None)
        for name in own:
            fault = faults[name]
            if fault is not None:
                yield self._made(sample, name, None, f"{sample.path.name}: {fault}", {})
                continue
            details: dict[str, Any] = parts[name]._asdict()
            if name == FLICKERING and filtered:
                details["static"] = static.asked(sample, video, self._networks)
            yield self._made(sample, name, parts[name], None, details)

    def _made(
        self,
        sample: SampleRef,
        dimension: str,
        parts: "Parts | None",
        reason: str | None,
        details: Mapping[str, Any],
    ) -> Score:
        return Score(
            sample_digest=sample.digest,
            scorer=self.name,
            version=self.version,
            metric=dimension,
            value=None if parts is None else parts.value,
            reason=reason,
            details=details,
        )


class _Static:
    """The static filter over the videos of one call, in the order of file names.

    Args:
        samples: All videos of the call.
    """

    def __init__(self, samples: Sequence[SampleRef]) -> None:
        self._videos = Counter(sample.prompt for sample in samples)
        self._static: Counter[str] = Counter()

    def asked(self, sample: SampleRef, video: "Video", networks: "Networks") -> bool | str:
        """Say whether a video is static, or `NOT_ASKED` after five static ones of its prompt.

        Only where all videos of the prompt are in the call: equal files come as one of them, and
        the place of the others in the order is not known.
        """
        from rcm_bench.vbench.native.evaluate import static

        planned = PRESETS[sample.metadata["vbench"]["preset"]].flickering_videos
        whole = self._videos[sample.prompt] == planned
        if whole and self._static[sample.prompt] == STATIC_VIDEOS:
            return NOT_ASKED
        found = static(video, networks)
        self._static[sample.prompt] += found
        return found


def _place(sample: SampleRef) -> tuple[str, str]:
    """Return what puts the videos of a prompt in the order of file names, as the filter has it."""
    return sample.prompt, f"{sample.seed_index}.mp4"


def _read(path: Path) -> "Video":
    from rcm_bench.video import read_video

    return read_video(path)


def _unfit(dimension: str, video: "Video", filtered: bool) -> str | None:
    """Say why a dimension has no value on a video; None if it has."""
    count, height, width = video.frames.shape[:3]
    least = LEAST_FRAMES.get(dimension, 1)
    if count < least:
        return f"expected at least {least} frames, got {count}"
    flow = RAFT in NEEDED[dimension] and (dimension != FLICKERING or filtered)
    if flow and min(height, width) < LEAST_SIDE:
        return f"expected at least {LEAST_SIDE} px a side for optical flow, got {width}x{height}"
    return None


def _style(sample: SampleRef) -> str:
    return str(sample.metadata["vbench"]["auxiliary_info"][STYLE][STYLE])
