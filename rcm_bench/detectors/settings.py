"""What a suite may say about the weights of GenEval's detector and colour classifier."""

from typing import Literal

from pydantic import Field, model_validator

from rcm_bench.features.pinned import Commit, Sha256
from rcm_bench.suite import Name, Strict

OFFICIAL_SHA256_START = "743b7d99"
"""The official file's name ends with the first digits of its SHA-256."""
_WHENCE = "; if you trust the file, sha256sum says it"


class Mask2FormerSettings(Strict):
    """Mask2Former Swin-S, with the weights of a hub folder or of mmdetection's file."""

    kind: Literal["mask2former"]
    weights: Name = Field(
        description="Hub id, a folder with config.json and model.safetensors, or the .pth file; "
        "relative paths start at the working folder"
    )
    layout: Literal["hub", "mmdet"] = Field(description="Whose names the weights have")
    revision: Commit | None = None
    sha256: Sha256 | None = None
    config_sha256: Sha256 | None = Field(
        default=None, description="SHA-256 of a local folder's config.json"
    )

    @model_validator(mode="after")
    def _pinned(self) -> "Mask2FormerSettings":
        """Ask for what says which weights these are, so that a score's key can name them."""
        if self.revision is not None:
            if self.layout == "mmdet":
                raise ValueError("'revision' belongs to a hub id; local files have 'sha256'")
        elif self.sha256 is None:
            raise ValueError(f"a hub id needs 'revision', local weights 'sha256'{_WHENCE}")
        elif self.layout == "hub" and self.config_sha256 is None:
            raise ValueError(f"a local folder needs 'config_sha256'{_WHENCE}")
        if self.layout == "mmdet" and self.config_sha256 is not None:
            raise ValueError("'config_sha256' belongs to 'layout: hub'")
        return self

    def fetched(self) -> str:
        """Name what a run takes from the hub; nothing for local files."""
        return "" if self.revision is None else f"{self.weights} at {self.revision[:12]}"

    @property
    def official(self) -> bool:
        """Return True if the file is the one that the official evaluation downloads."""
        return self.layout == "mmdet" and str(self.sha256).startswith(OFFICIAL_SHA256_START)


class ColourSettings(Strict):
    """CLIP ViT-L/14 by open_clip: its own download, or a local file."""

    weights: Name = Field(
        default="openai", description="open_clip's pretrained tag, or a .safetensors or .pt file"
    )
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _pinned(self) -> "ColourSettings":
        if self.is_file and self.sha256 is None:
            raise ValueError(f"a local file needs 'sha256'{_WHENCE}")
        if not self.is_file and self.sha256 is not None:
            raise ValueError("'sha256' belongs to a local file, not to a pretrained tag")
        return self

    def fetched(self) -> str:
        """Name what a run lets open_clip fetch; nothing for a local file."""
        return "" if self.is_file else f"CLIP ViT-L/14 '{self.weights}' by open_clip"

    @property
    def is_file(self) -> bool:
        """Return True for a path, False for a pretrained tag."""
        return self.weights.endswith((".safetensors", ".pt", ".pth", ".bin"))
