"""A folder of real images that distances of sets are also taken to, and their features.

The folder is named by one digest over the contents of its images, whatever their names, so that a
protocol says which images they were.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from rcm_bench.canonical import digest_of, file_digest
from rcm_bench.errors import MissingError, UserError
from rcm_bench.feature_files import encode_set
from rcm_bench.features import FeatureSettings
from rcm_bench.features.pinned import Sha256
from rcm_bench.media import PictureError, decode
from rcm_bench.suite import Name, Strict

if TYPE_CHECKING:
    from rcm_bench.features import Extractor

SUFFIXES = (".png", ".jpg", ".jpeg")


class RealImages(Strict):
    """A flat folder of PNG and JPEG images; relative paths start at the working folder."""

    folder: Name = Field(description="Folder of the images, and of nothing else")
    sha256: Sha256 = Field(
        description="Digest over the images' contents; a wrong one is answered with the right one"
    )

    def check(self, where: str) -> list[Path]:
        """Return the images, by name, without reading them.

        Raises:
            MissingError: There is no such folder.
            UserError: It holds something else, or fewer than two images.
        """
        root = Path(self.folder)
        try:
            found = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        except FileNotFoundError as fault:
            raise MissingError(
                f"{where}.folder: {root}: cannot be read ({fault.strerror})"
            ) from None
        except OSError as fault:
            raise UserError(f"{where}.folder: {root}: cannot be read ({fault.strerror})") from None
        for path in found:
            if path.suffix.lower() not in SUFFIXES or not path.is_file():
                raise UserError(
                    f"{where}.folder: {path}: expected images alone ({', '.join(SUFFIXES)})"
                )
        if len(found) < 2:
            raise UserError(f"{where}.folder: {root}: expected at least 2 images, got {len(found)}")
        return found

    def verified(self, where: str) -> list[Path]:
        """Return the images once their digest is right.

        Raises:
            UserError: They are not there, or others.
        """
        paths = self.check(where)
        got = digest_of(sorted(file_digest(path) for path in paths))
        if got != self.sha256:
            raise UserError(
                f"{where}.sha256: {self.folder}: expected {self.sha256}, its {len(paths)} images "
                f"have {got}; if they are the ones you mean, write that"
            )
        return paths


@dataclass(frozen=True, kw_only=True, slots=True)
class RealFeatures:
    """Features of real images by a network, as the file that a run keeps.

    Args:
        images: The images.
        features: The network.
        where: Key of the images in the suite, for messages.
    """

    images: RealImages
    features: FeatureSettings
    where: str

    def load(self, where: str, device: str) -> bytes:
        """Embed all images, one at a time, as their sizes differ.

        Args:
            where: Key of the network in the suite, for messages.
            device: Torch device.

        Raises:
            UserError: The network cannot be loaded, or an image cannot be read.
        """
        paths = self.images.verified(self.where)
        extractor: Extractor = self.features.load(where, device)
        rows = []
        for path in paths:
            try:
                image = decode(path)
            except PictureError as fault:
                raise UserError(f"{self.where}: {path}: {fault}") from None
            rows.append(extractor(image[None])[0])
        return encode_set(np.stack(rows))
