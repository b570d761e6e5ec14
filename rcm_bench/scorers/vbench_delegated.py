"""One dimension of VBench by the package itself: a process for each cell, in its own environment.

Value: the video's own value on the scale of the dimension. Details: ``numerator`` and
``denominator``, whose sums over videos give the dimension as the package takes it together.

A video that the package leaves out by its own rule (color: the object is in no frame; flickering:
not among the first five static videos) is unscored with that reason, for good. A process that
fails leaves all its videos unscored, to be tried again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from rcm_bench.canonical import digest_of
from rcm_bench.errors import UserError
from rcm_bench.types import PromptRecord, SampleRef, Score
from rcm_bench.vbench import environment
from rcm_bench.vbench.dimensions import CUSTOM, WEIGHTS
from rcm_bench.vbench.i2v_images import COMPARED, image_digests, images_folder
from rcm_bench.vbench.jobs import DEFAULT_ASPECT, HOURS, Job, Kind, weights_digests
from rcm_bench.vbench.presets import PRESETS
from rcm_bench.vbench.results import InfoRow, VideoResult
from rcm_bench.vbench.run import run_dimension
from rcm_bench.vbench.staging import Video

FOLDER = "vbench"
FLICKERING = "temporal_flickering"
DROPPED = {
    "color": "VBench leaves it out: the object is in no frame",
    FLICKERING: "VBench leaves it out: not among the first five static videos of its prompt",
}


class DelegationError(Exception):
    """The package's process gave no result; the message ends with what its log says last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """One dimension, computed by the package.

    Args:
        dimension: Its name.
        mode: ``"vbench_standard"`` for VBench's own prompts, ``"custom_input"`` for any, ``"i2v"``
            for VBench-I2V's.
        device: Torch device of the process.
        hours: Time limit of one cell.
        weights: SHA-256 that weights files must have, by their path below the package's cache.
        folder: Run folder; results and logs are kept below it.
        aspect: Aspect ratio of VBench-I2V's images; None elsewhere.
        images: SHA-256 that VBench-I2V's images must have, by name.
    """

    dimension: str
    mode: Kind = "vbench_standard"
    device: str = "cuda"
    hours: float = HOURS
    weights: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    aspect: str | None = None
    images: Mapping[str, str] = field(default_factory=dict)

    version: ClassVar[str] = "1"

    @property
    def name(self) -> str:
        """Name of the scorer, with the dimension."""
        return f"vbench_delegated.{self.dimension}"

    def settings(self) -> dict[str, Any]:
        """Return package, mode and the weights that the suite names; the limit changes no score.

        Only what the suite says: a report must be the same on a machine without the weights. What
        lay there when the process ran is in its ``job.json``.
        """
        pinned = {name: self.weights.get(name, "not pinned") for name in WEIGHTS[self.dimension]}
        found = {"package": f"vbench {environment.VERSION}", "mode": self.mode, "weights": pinned}
        if self.aspect is not None:
            found["images"] = self.aspect
        if self.images and self.dimension in COMPARED:
            found["images_digest"] = digest_of(dict(self.images))
        return found

    def applies(self, prompt: PromptRecord) -> bool:
        """Say whether the dimension is scored on videos of a prompt."""
        if self.mode == "custom_input":
            return self.dimension in CUSTOM
        known = prompt.metadata.get("vbench")
        return known is not None and self.dimension in known["dimensions"]

    def at(self, folder: Path) -> "Scorer":
        """Return the scorer with its run folder."""
        return replace(self, folder=folder)

    def __call__(self, samples: Sequence[SampleRef]) -> Iterator[Score]:
        """Score the videos of one cell.

        Args:
            samples: Stored videos, each of a prompt that the dimension applies to.

        Raises:
            DelegationError: The process failed, was ended, or left videos out.
            UserError: The environment, weights or names are not as they must be.
        """
        assert self.folder is not None, "at(folder) comes before scoring"
        if not samples:
            return
        self._check_weights()
        job = self.job(samples)
        self._check_images(job)
        outcome = run_dimension(environment.find(), job, self.folder / FOLDER)
        if outcome.result is None:
            raise DelegationError(" | ".join(_brief(outcome.message)))
        found = {(v.prompt, v.index): v for v in outcome.result.videos}
        for sample, video in zip(samples, job.videos, strict=True):
            yield self._score(sample, found.get((video.prompt, video.index)))

    def _check_weights(self) -> None:
        found = weights_digests(self.dimension)
        benchmark = "vbench_i2v" if self.mode == "i2v" else "vbench"
        for name, pinned in self.settings()["weights"].items():
            if pinned not in ("not pinned", found[name]):
                raise UserError(
                    f"benchmarks.{benchmark}.weights: {environment.weights_folder() / name}: "
                    f"expected SHA-256 {pinned[:16]}, got {found[name][:16]}"
                )

    def _check_images(self, job: Job) -> None:
        """Hold the images to those that the run froze: its scores are keyed by them."""
        if self.aspect is not None and self.dimension in COMPARED:
            names = [str(row.image) for row in job.info]
            image_digests(names, self.aspect, self.images, "benchmarks.vbench_i2v")

    def job(self, samples: Sequence[SampleRef]) -> Job:
        """Return what is asked of the package for these videos."""
        return Job(
            dimension=self.dimension,
            videos=[Video(prompt=s.prompt, index=s.seed_index, path=s.path) for s in samples],
            digests=[s.digest for s in samples],
            info=self._info(samples),
            kind=self.mode,
            device=self.device,
            seconds=self.hours * 3600,
            filtered=self._filtered(samples),
            droppable=self.dimension == "color",
            images=None if self.aspect is None else images_folder(),
            resolution=self.aspect or DEFAULT_ASPECT,
        )

    def _filtered(self, samples: Sequence[SampleRef]) -> bool:
        if self.dimension != FLICKERING or self.mode != "vbench_standard":
            return False
        (preset,) = {sample.metadata["vbench"]["preset"] for sample in samples}
        return PRESETS[preset].static_filter

    def _info(self, samples: Sequence[SampleRef]) -> list[InfoRow]:
        """Return the prompts as the package's file has them, each once."""
        rows: dict[str, InfoRow] = {}
        for sample in samples:
            known = sample.metadata.get("vbench", {}) if self.mode != "custom_input" else {}
            auxiliary = known.get("auxiliary_info", {})
            rows.setdefault(
                sample.prompt,
                InfoRow(
                    prompt=sample.prompt,
                    dimensions=(self.dimension,),
                    videos=(),
                    auxiliary={k: v for k, v in auxiliary.items() if k == self.dimension},
                    image=known.get("image"),
                ),
            )
        return list(rows.values())

    def _score(self, sample: SampleRef, video: VideoResult | None) -> Score:
        if video is None:
            return self._made(sample, None, DROPPED[self.dimension], {})
        parts = {"numerator": video.numerator, "denominator": video.denominator}
        return self._made(sample, video.value, None, parts)

    def _made(
        self, sample: SampleRef, value: float | None, reason: str | None, details: dict[str, Any]
    ) -> Score:
        return Score(
            sample_digest=sample.digest,
            scorer=self.name,
            version=self.version,
            metric=self.dimension,
            value=value,
            reason=reason,
            details=details,
        )


def _brief(message: str) -> list[str]:
    """Keep why, where the log is, and its last line; the log has the rest."""
    lines = message.splitlines()
    return lines if len(lines) < 2 else [lines[0], lines[-1]]
