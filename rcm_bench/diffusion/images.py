"""First frames for image-to-video: one image for each prompt, checked at the plan."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcm_bench.diffusion.digests import files_digest
from rcm_bench.diffusion.settings import DiffusionSettings
from rcm_bench.errors import UserError
from rcm_bench.types import ModelContext, PromptRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """A folder of images, one for each prompt.

    A prompt set may name its images, as VBench-I2V does; those are scaled to the size. Else they
    are named by the prompts' lines, ``00000.png``, ``00001.png``, ..., and have it.

    Args:
        folder: The folder.
        size: Height and width that each must have, or is scaled to.
        place: For messages.
        names: Names of the images that the prompt set gives, by prompt.
        lines: Texts of the prompts whose image goes by their line, by prompt.
    """

    folder: Path
    size: tuple[int, int]
    place: str
    names: dict[str, str] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)

    def path(self, prompt_id: str) -> Path:
        """Return the file of a prompt; its id begins with its line."""
        return self.folder / self.names.get(prompt_id, f"{prompt_id.partition('-')[0]}.png")

    def digest(self) -> str:
        """Return one digest of all images, their names, and which prompt goes by which line.

        A prompt set that names its images is held to its own digest.
        """
        from rcm_bench.canonical import digest_of

        files = sorted(p for p in self.folder.iterdir() if p.suffix.lower() in _SUFFIXES)
        images = [[path.name, files_digest([path])] for path in files]
        begins = [[self.path(prompt).name, text] for prompt, text in sorted(self.lines.items())]
        return digest_of([images, begins])

    def check(self, prompts: Iterable[PromptRecord]) -> None:
        """Take the names that the prompts give; refuse prompts without an image of the right size.

        Raises:
            UserError: Says which.
        """
        ids = []
        for prompt in prompts:
            ids.append(prompt.prompt_id)
            if named := _named(prompt.metadata):
                self.names[prompt.prompt_id] = named
            else:
                self.lines[prompt.prompt_id] = prompt.text
        paths = {self.path(prompt_id): prompt_id for prompt_id in ids}
        if lost := [path.name for path in paths if not path.is_file()]:
            raise UserError(
                f"{self.place}: {self.folder}: expected one image for each prompt, "
                f"{len(lost)} missing: {', '.join(lost[:5])}"
            )
        for path, prompt_id in paths.items():
            self._look(path, named=prompt_id in self.names)

    def _look(self, path: Path, *, named: bool) -> None:
        """Check size and checksums; a thousand PNG images are not unpacked at every plan.

        Raises:
            UserError: It is no image, damaged or of another size.
        """
        from PIL import Image

        from rcm_bench.media import check_kind

        try:
            with Image.open(path, formats=("PNG", "JPEG") if named else ("PNG",)) as image:
                check_kind(image)
                width, height = image.size
                if image.format == "PNG":
                    image.verify()  # by its checksums, which JPEG has not
                else:
                    image.draft("RGB", (1, 1))  # read to its end, at an eighth of its size
                    image.load()
        except Exception as fault:  # Pillow raises what it likes on damaged files
            raise self._damaged(path, fault, named=named) from None
        if not named:
            self._check_size(path, (height, width))

    def _damaged(self, path: Path, fault: Exception, *, named: bool) -> UserError:
        kind = "an image" if named else "a PNG image"
        return UserError(f"{self.place}: {path}: expected {kind} ({fault})")

    def _check_size(self, path: Path, size: tuple[int, ...]) -> None:
        if size != self.size:
            raise UserError(
                f"{self.place}: {path}: expected {self.size[0]}x{self.size[1]} (height x width), "
                f"got {size[0]}x{size[1]}"
            )

    def read(self, prompt_id: str) -> "NDArray[np.uint8]":
        """Return a prompt's image, uint8 of shape (height, width, 3).

        Raises:
            UserError: It is damaged, or of another size where the prompt set does not name it.
        """
        from rcm_bench.media import decode

        path, named = self.path(prompt_id), prompt_id in self.names
        try:
            array = decode(path) if named else decode(path, ("PNG",))
        except (OSError, ValueError) as fault:
            raise self._damaged(path, fault, named=named) from None
        if named:
            return _scaled(array, self.size)
        self._check_size(path, array.shape[:2])
        return array


def _named(metadata: Mapping[str, Any]) -> str | None:
    return (metadata.get("vbench") or {}).get("image")


def _scaled(array: "NDArray[np.uint8]", size: tuple[int, int]) -> "NDArray[np.uint8]":
    """Scale both sides as diffusers' pipelines do (Lanczos)."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(array)
    return np.asarray(image.resize(size[::-1], Image.Resampling.LANCZOS))


def find_images(settings: DiffusionSettings, pipeline: str, context: ModelContext) -> Images | None:
    """Return the first frames of a model entry; None where the model takes none.

    Raises:
        UserError: The folder is not there, or the model takes none.
    """
    place = f"{context.place}.image_folder"
    if "VideoToWorld" not in pipeline:
        if settings.image_folder is not None:
            raise UserError(f"{place}: {pipeline} starts from text alone and takes no images")
        return None
    if settings.image_folder is None:
        return None  # text-to-video: no frame is known
    for folder in (context.folder / settings.image_folder, Path(settings.image_folder)):
        if folder.is_dir():
            height, width = settings.resolution
            return Images(folder=folder, size=(height, width), place=place)
    raise UserError(f"{place}: {settings.image_folder}: no such folder")
