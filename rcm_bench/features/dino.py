"""DINOv2 and DINOv3 through transformers: the class token after the last norm."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from rcm_bench.errors import UserError
from rcm_bench.features.pinned import PinnedFolder, needs
from rcm_bench.features.preparing import IMAGENET_MEAN, IMAGENET_STD, Preparation, in_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = ("dinov2", "dinov2_with_registers", "dinov3_vit")
BATCH = 32


class Settings(PinnedFolder):
    """A folder of DINOv2 or DINOv3, such as facebook/dinov2-base."""

    resize: int = Field(default=256, ge=1, description="Short side of the image, in pixels")
    crop: int = Field(default=224, ge=1, description="Side of the centre crop, in pixels")
    distance: Literal["cosine"] = "cosine"

    published: ClassVar[str] = (
        "a hub id such as facebook/dinov2-base is fetched if its commit stands under 'revision'"
    )

    def preparation(self) -> Preparation:
        """Return what is done to an image."""
        return Preparation(self.resize, self.crop, IMAGENET_MEAN, IMAGENET_STD)

    def load(self, where: str, device: str) -> "Dino":
        """Load the network in float32.

        Raises:
            UserError: The package or a file is missing, a digest differs, it is no DINO.
        """
        try:
            import transformers
        except ImportError as fault:
            needs("transformers", "DINO", fault)
        import torch

        folder = self.verified(where)
        kind = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if kind not in KINDS:
            raise UserError(f"{where}: expected one of {', '.join(KINDS)}, got '{kind}'")
        model, found = transformers.AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
        if faults := sorted([*found["missing_keys"], *found["unexpected_keys"]]):
            raise UserError(f"{where}: missing or unexpected weights: {', '.join(faults[:5])}")
        return Dino(model.eval().to(device), self.preparation(), device)


class Dino:
    """Images to class tokens.

    Args:
        model: A transformers model in evaluation mode.
        preparation: What is done to an image.
        device: Where it runs.
    """

    def __init__(self, model: Any, preparation: Preparation, device: str) -> None:
        self.model, self.preparation, self.device = model, preparation, device

    def __call__(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Return features (B, D) of images (B, H, W, 3)."""
        import torch

        found = []
        with torch.inference_mode():
            for part in in_parts(images, BATCH):
                states = self.model(self.preparation(part).to(self.device)).last_hidden_state
                found.append(states[:, 0].float().cpu().numpy())
        return np.concatenate(found)
