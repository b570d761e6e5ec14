"""Inception's pool features as FID has them, through torch-fidelity, from a local file."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from rcm_bench.features.pinned import PinnedFile, needs, read_tensors
from rcm_bench.features.preparing import in_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 32


class Settings(PinnedFile):
    """The 2015 weights in PyTorch's format: ``weights-inception-2015-12-05-6726825d.pth``."""

    distance: Literal["squared"] = "squared"

    published: ClassVar[str] = (
        "FID has weights-inception-2015-12-05-6726825d.pth, of torch-fidelity's releases"
    )

    def load(self, where: str, device: str) -> "Inception":
        """Load the network in float32.

        Raises:
            UserError: The package or the file is missing, the digest differs, or it does not fit.
        """
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as fault:
            needs("torch-fidelity", "FID", fault)
        import torch

        tensors = read_tensors(self.verified(where), where)
        # torch-fidelity unpickles anything: it gets a file of ours with these tensors alone.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "inception.pth"
            torch.save(tensors, path)
            model = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
            )
        return Inception(model.to(device), device)


class Inception:
    """Images to 2048 features.

    Args:
        model: torch-fidelity's network, which resizes to 299 px itself.
        device: Where it runs.
    """

    def __init__(self, model: Any, device: str) -> None:
        self.model, self.device = model, device

    def __call__(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Return features (B, 2048) of images (B, H, W, 3)."""
        import torch

        found = []
        with torch.inference_mode():
            for part in in_parts(images, BATCH):
                pixels = torch.tensor(part).permute(0, 3, 1, 2).contiguous().to(self.device)
                (features,) = self.model(pixels)
                found.append(features.flatten(1).float().cpu().numpy())
        return np.concatenate(found)
