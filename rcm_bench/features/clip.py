"""CLIP's image features through open_clip, from a local file."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from rcm_bench.errors import UserError, unknown
from rcm_bench.features.pinned import PinnedFile, needs
from rcm_bench.features.preparing import in_parts
from rcm_bench.suite import Name

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

BATCH = 32


class Settings(PinnedFile):
    """Weights of an open_clip architecture.

    OpenAI's weights belong to the architectures whose names end in ``-quickgelu``; under the plain
    names they would run with another activation.
    """

    model: Name = Field(description="open_clip's architecture, such as ViT-B-32-quickgelu")
    distance: Literal["cosine"] = "cosine"

    published: ClassVar[str] = (
        "open_clip lists the pretrained weights of each architecture, and downloads them"
    )

    def load(self, where: str, device: str) -> "Clip":
        """Load the network in float32, with open_clip's own preparation of images and texts.

        Raises:
            UserError: The package or the file is missing, the digest differs, or it does not fit.
        """
        open_clip = _open_clip()
        if self.model not in (known := open_clip.list_models()):
            raise UserError(f"{where}.model: {unknown('architecture', self.model, known)}")
        path = self.verified(where)
        try:
            model, _, transform = open_clip.create_model_and_transforms(
                self.model, pretrained=str(path), weights_only=True
            )
        except Exception as fault:
            raise UserError(f"{where}: {path}: cannot be loaded: {fault}") from None
        tokenizer = open_clip.get_tokenizer(self.model)
        return Clip(model.eval().to(device), transform, tokenizer, device)


def _open_clip() -> Any:
    try:
        import open_clip
    except ImportError as fault:
        needs("open_clip", "CLIP", fault)
    return open_clip


class Clip:
    """Images and texts to CLIP's shared features.

    Args:
        model: An open_clip model in evaluation mode.
        transform: Its transform of a PIL image: resize, centre crop, normalise.
        tokenizer: Its tokenizer.
        device: Where it runs.
    """

    def __init__(self, model: Any, transform: Any, tokenizer: Any, device: str) -> None:
        self.model, self.transform, self.tokenizer = model, transform, tokenizer
        self.device = device

    def __call__(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Return features (B, D) of images (B, H, W, 3), not normalised."""
        import torch

        with torch.inference_mode():
            found = [self.encode(part).float().cpu().numpy() for part in in_parts(images, BATCH)]
        return np.concatenate(found)

    def encode(self, images: "NDArray[np.uint8]") -> "Tensor":
        """Return features (B, D) on the device."""
        import torch
        from PIL import Image

        pictures = torch.stack([self.transform(Image.fromarray(image)) for image in images])
        encoded: Tensor = self.model.encode_image(pictures.to(self.device))
        return encoded

    def texts(self, texts: list[str]) -> "NDArray[np.float32]":
        """Return features (B, D) of texts, not normalised; texts are cut at 77 tokens."""
        import torch

        with torch.inference_mode():
            encoded = self.model.encode_text(self.tokenizer(texts).to(self.device))
        found: NDArray[np.float32] = encoded.float().cpu().numpy()
        return found
