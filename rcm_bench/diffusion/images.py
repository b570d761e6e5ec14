"""First frames for image-to-video: one PNG for each prompt, checked at the plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rcm_bench.diffusion.digests import files_digest
from rcm_bench.diffusion.settings import DiffusionSettings
from rcm_bench.errors import UserError
from rcm_bench.types import ModelContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """A folder of images named by the prompts' lines: ``00000.png``, ``00001.png``, ...

    Args:
        folder: The folder.
        size: Height and width that each must have.
        place: For messages.
    """

    folder: Path
    size: tuple[int, int]
    place: str

    def path(self, prompt_id: str) -> Path:
        """Return the file of a prompt; its id begins with its line."""
        return self.folder / f"{prompt_id.partition('-')[0]}.png"

    def digest(self) -> str:
        """Return one digest of all images and their names."""
        from rcm_bench.canonical import digest_of

        files = sorted(self.folder.glob("*.png"))
        return digest_of([[path.name, files_digest([path])] for path in files])

    def check(self, prompt_ids: Sequence[str]) -> None:
        """Refuse prompts without an image, and images of another size.

        Raises:
            UserError: Says which.
        """
        lost = [self.path(p).name for p in prompt_ids if not self.path(p).is_file()]
        if lost:
            raise UserError(
                f"{self.place}: {self.folder}: expected one image for each prompt, "
                f"{len(lost)} missing: {', '.join(lost[:5])}"
            )
        for path in dict.fromkeys(self.path(p) for p in prompt_ids):
            self._look(path)

    def _look(self, path: Path) -> None:
        """Check size and checksums; a thousand images are not unpacked at every plan.

        Raises:
            UserError: It is no PNG image, damaged or of another size.
        """
        from PIL import Image

        try:
            with Image.open(path, formats=("PNG",)) as image:
                width, height = image.size
                image.verify()
        except (OSError, SyntaxError, ValueError) as fault:
            raise UserError(f"{self.place}: {path}: expected a PNG image ({fault})") from None
        self._check_size(path, (height, width))

    def _check_size(self, path: Path, size: tuple[int, ...]) -> None:
        if size != self.size:
            raise UserError(
                f"{self.place}: {path}: expected {self.size[0]}x{self.size[1]} (height x width), "
                f"got {size[0]}x{size[1]}"
            )

    def read(self, prompt_id: str) -> "NDArray[np.uint8]":
        """Return a prompt's image, uint8 of shape (height, width, 3).

        Raises:
            UserError: It is damaged or of another size.
        """
        from rcm_bench.media import decode

        path = self.path(prompt_id)
        try:
            array = decode(path)
        except (OSError, ValueError) as fault:
            raise UserError(f"{self.place}: {path}: expected a PNG image ({fault})") from None
        self._check_size(path, array.shape[:2])
        return array


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
