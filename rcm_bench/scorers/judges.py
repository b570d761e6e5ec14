"""CLIPScore, PickScore, HPSv2 and LAION's aesthetic score: what each makes of CLIP's features."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from rcm_bench.checkpoints.fill import fill
from rcm_bench.errors import UserError, check_all
from rcm_bench.features.clip import Clip
from rcm_bench.features.clip import Settings as ClipSettings
from rcm_bench.features.pinned import PinnedFile, PinnedFolder, needs, read_tensors
from rcm_bench.features.preparing import CLIP_MEAN, CLIP_STD, Preparation, in_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

BATCH = 32
HPS_MODEL = "ViT-H-14"
_PICK_FILES = ("tokenizer.json", "tokenizer_config.json")


def _cosines(images: "NDArray[np.float32]", texts: "NDArray[np.float32]") -> Any:
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    return (a * b).sum(1)


class _Aligned:
    """scale max(cos, floor) of image and prompt in CLIP's space."""

    def __init__(self, clip: Clip, scale: float, floor: float) -> None:
        self.clip, self.scale, self.floor = clip, scale, floor

    def __call__(
        self, images: "NDArray[np.uint8]", prompts: Sequence[str]
    ) -> "NDArray[np.float32]":
        cosines = _cosines(self.clip(images), self.clip.texts(list(prompts)))
        found: NDArray[np.float32] = self.scale * np.maximum(cosines, self.floor)
        return found


class ClipScoreSettings(ClipSettings):
    """100 max(cos, 0), as torchmetrics has it (Hessel et al. 2021 have 2.5 in place of 100)."""

    published: ClassVar[str] = (
        "CLIPScore's paper has OpenAI's ViT-B/32, which open_clip downloads: model "
        "ViT-B-32-quickgelu, tag 'openai'"
    )

    def load(self, where: str, device: str) -> Any:
        """Load CLIP."""
        return _Aligned(ClipSettings.load(self, where, device), 100.0, 0.0)


class HpsSettings(ClipSettings):
    """HPSv2: cos of ViT-H-14 fine-tuned on preferences (Wu et al. 2023), not times 100.

    The published checkpoint is a file with ``state_dict`` for open_clip.
    """

    model: str = HPS_MODEL

    published: ClassVar[str] = (
        "HPSv2 is published as HPS_v2_compressed.pt in the hub's space xswu/HPSv2"
    )

    def load(self, where: str, device: str) -> Any:
        """Load the checkpoint."""
        return _Aligned(ClipSettings.load(self, where, device), 1.0, -1.0)


class PickSettings(PinnedFolder):
    """PickScore: a transformers folder of CLIPModel, such as yuvalkirstain/PickScore_v1."""

    resize: int = 224

    published: ClassVar[str] = (
        "PickScore is published as yuvalkirstain/PickScore_v1 on the hub; that id is fetched if "
        "its commit stands under 'revision'"
    )

    def load(self, where: str, device: str) -> "_Pick":
        """Load model and tokenizer.

        Raises:
            UserError: The package or a file is missing, a digest differs, weights do not fit.
        """
        try:
            import transformers
        except ImportError as fault:
            needs("transformers", "PickScore", fault)
        import torch

        folder = self.verified(where, _PICK_FILES)
        kind: Any = transformers.CLIPModel
        model, found = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
        if faults := sorted(found["missing_keys"]):
            raise UserError(f"{where}: missing weights: {', '.join(faults[:5])}")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return _Pick(model.eval().to(device), tokenizer, self.resize, device)


class _Pick:
    """logit scale times cos of image and prompt (Kirstain et al. 2023, section 4)."""

    def __init__(self, model: Any, tokenizer: Any, resize: int, device: str) -> None:
        self.model, self.tokenizer, self.device = model, tokenizer, device
        self.preparation = Preparation(resize, resize, CLIP_MEAN, CLIP_STD)

    def __call__(
        self, images: "NDArray[np.uint8]", prompts: Sequence[str]
    ) -> "NDArray[np.float32]":
        import torch

        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(prompts), padding=True, truncation=True, max_length=length, return_tensors="pt"
        ).to(self.device)
        found = []
        with torch.inference_mode():
            for place, part in enumerate(in_parts(images, BATCH)):
                rows = slice(place * BATCH, place * BATCH + len(part))
                out = self.model(
                    input_ids=tokens["input_ids"][rows],
                    attention_mask=tokens["attention_mask"][rows],
                    pixel_values=self.preparation(part).to(self.device),
                )
                cosines = (out.image_embeds * out.text_embeds).sum(1)
                found.append((self.model.logit_scale.exp() * cosines).float().cpu().numpy())
        return np.concatenate(found)


class HeadFile(PinnedFile):
    """The head of LAION's aesthetic score."""

    published: ClassVar[str] = (
        "LAION's repository aesthetic-predictor has sa_0_4_vit_l_14_linear.pth"
    )


class AestheticSettings(ClipSettings):
    """LAION's aesthetic score: a head on normalised image features of CLIP ViT-L/14."""

    head: HeadFile
    layout: Literal["linear", "mlp"] = "linear"

    published: ClassVar[str] = (
        "LAION's heads are for OpenAI's ViT-L/14, which open_clip downloads: model "
        "ViT-L-14-quickgelu, tag 'openai'"
    )

    def identity(self) -> dict[str, Any]:
        """Return what a score depends on, the head by its digest."""
        found = ClipSettings.identity(self)
        return {**found, "head": self.head.identity()}

    def check(self, where: str) -> None:
        """Refuse files that are not there."""
        check_all(
            [
                lambda: ClipSettings.check(self, where),
                lambda: self.head.check(f"{where}.head"),
            ]
        )

    def load(self, where: str, device: str) -> Any:
        """Load CLIP and the head."""
        clip = ClipSettings.load(self, where, device)
        path = self.head.verified(f"{where}.head")
        return _Aesthetic(clip, _head(read_tensors(path, where), self.layout, path, where))


def _head(tensors: "dict[str, Tensor]", layout: str, path: Path, where: str) -> Any:
    """Build the head: one linear layer (version 1), or the linear MLP of version 2."""
    from torch import nn

    first = tensors.get("weight", tensors.get("layers.0.weight"))
    width = 0 if first is None or first.ndim != 2 else first.shape[1]
    if layout == "linear":
        head: Any = nn.Linear(width, 1)
        fill(head, tensors, f"{where}.head: {path}")
        return head.eval()
    sizes = (width, 1024, 128, 64, 16, 1)
    parts: list[Any] = []
    for place, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
        # Dropout of the published MLP stands between the layers; it has no activations.
        parts += [nn.Linear(a, b)] + ([nn.Identity()] if place < 3 else [])
    head = nn.Sequential(*parts)
    fill(head, {k.removeprefix("layers."): v for k, v in tensors.items()}, f"{where}.head: {path}")
    return head.eval()


class _Aesthetic:
    """The head on CLIP's features of length 1; the prompt has no say."""

    def __init__(self, clip: Clip, head: Any) -> None:
        self.clip, self.head = clip, head

    def __call__(
        self, images: "NDArray[np.uint8]", prompts: Sequence[str]
    ) -> "NDArray[np.float32]":
        import torch

        features = self.clip(images)
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        with torch.inference_mode():
            found: NDArray[np.float32] = self.head(torch.from_numpy(unit)).squeeze(1).numpy()
        return found
