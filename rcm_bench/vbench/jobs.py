"""What one dimension of VBench is run on, and the key that its result is stored under."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rcm_bench.canonical import digest_of, file_digest
from rcm_bench.diffusion.digests import remembered_digest
from rcm_bench.errors import UserError
from rcm_bench.vbench import environment
from rcm_bench.vbench.dimensions import WEIGHTS
from rcm_bench.vbench.environment import weights_folder
from rcm_bench.vbench.results import DimensionResult, InfoRow
from rcm_bench.vbench.staging import Video

Kind = Literal["vbench_standard", "custom_input", "i2v"]
Status = Literal["ok", "error", "timeout", "killed", "incomplete"]
DEFAULT_ASPECT = "16-9"
HOURS = 24.0
"""Limit of one dimension: the whole of VBench takes half a day on one H100 (VBench issue 195)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One dimension of one set of videos.

    Args:
        dimension: Its name.
        videos: The videos, with their SHA-256 in the same order.
        digests: Digests of the videos' files.
        info: The prompts of these videos, as the package's file has them.
        kind: The package's mode, or ``"i2v"``.
        device: Torch device of the process.
        seconds: Time limit.
        filtered: Whether the package's static filter comes first (temporal flickering).
        droppable: Whether the package leaves out videos by its own rule (color).
        images: Folder with the images of VBench-I2V, holding ``crop/<resolution>``.
        resolution: Aspect ratio of these images.
    """

    dimension: str
    videos: Sequence[Video]
    digests: Sequence[str]
    info: Sequence[InfoRow]
    kind: Kind = "vbench_standard"
    device: str = "cuda"
    seconds: float = HOURS * 3600
    filtered: bool = False
    droppable: bool = False
    images: Path | None = None
    resolution: str = DEFAULT_ASPECT

    def key(self) -> str:
        """Return a digest of all that decides the result; the time limit is not part of it."""
        named = sorted(
            [v.prompt, v.index, digest] for v, digest in zip(self.videos, self.digests, strict=True)
        )
        return digest_of(
            {
                "dimension": self.dimension,
                "videos": named,
                "info": [
                    [r.prompt, list(r.dimensions), dict(r.auxiliary), r.image] for r in self.info
                ],
                "kind": self.kind,
                "device": self.device,
                "filtered": self.filtered,
                "images": self.image_digests(),
                "requirements": file_digest(environment.requirements()),
                "driver": file_digest(environment.driver()),
                "weights": weights_digests(self.dimension),
            }
        )

    def image_digests(self) -> dict[str, str]:
        """Return the SHA-256 of each image that videos are compared with (VBench-I2V).

        Raises:
            UserError: An image is not there.
        """
        if self.dimension not in ("i2v_subject", "i2v_background"):
            return {}
        assert self.images is not None
        found = {}
        for name in sorted({str(row.image) for row in self.info}):
            path = self.images / "crop" / self.resolution / name
            if not path.is_file():
                raise UserError(f"{path}: no such image; VBench's repository says where they are")
            found[f"{self.resolution}/{name}"] = file_digest(path)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a dimension.

    Args:
        dimension: Its name.
        status: ``"ok"`` or the kind of failure.
        folder: Where its files are.
        result: The result; None where there is none.
        message: Why there is none, with the end of the log.
        seconds: Time that the process took; 0 for a result that was there.
        reused: Whether it was there already.
    """

    dimension: str
    status: Status
    folder: Path
    result: DimensionResult | None = None
    message: str = ""
    seconds: float = 0.0
    reused: bool = False


def weights_digests(dimension: str) -> dict[str, str]:
    """Return the SHA-256 of each weights file of a dimension, ``"missing"`` where it is not there.

    A folder of code (DINO's hub repository) counts by its Python files.
    """
    folder = weights_folder()
    return {name: _digest(folder / name) for name in WEIGHTS[dimension]}


def _digest(path: Path) -> str:
    if path.is_file():
        return remembered_digest(path)
    if path.is_dir():
        return digest_of({p.name: file_digest(p) for p in sorted(path.glob("*.py"))})
    return "missing"
