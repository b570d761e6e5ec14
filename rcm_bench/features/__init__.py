"""Images to features, one network a file: each says how it prepares an image and loads weights."""

from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Extractor", "FeatureSettings"]


class Extractor(Protocol):
    """Turns images (B, H, W, 3), uint8, into features (B, D), float32."""

    def __call__(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Return the features of each image."""
        ...


class FeatureSettings(Protocol):
    """Which network, and where its weights lie."""

    def __hash__(self) -> int:
        """Equal settings are loaded once."""
        ...

    @property
    def distance(self) -> Literal["cosine", "squared"]:
        """How two images are compared: 1 - cos, or squared Euclidean distance."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return all that a score depends on, digests of weights too."""
        ...

    def check(self, where: str) -> None:
        """Raise UserError for files that are not there or have other digests."""
        ...

    def load(self, where: str, device: str) -> Extractor:
        """Load the network; raise UserError if something is missing or does not fit."""
        ...
