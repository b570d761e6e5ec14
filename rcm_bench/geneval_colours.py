"""Colours of found objects, by CLIP ViT-L/14 as GenEval's official evaluation asks it.

Crop: the object on a grey (#999) ground, cut to its box. Texts: three for each of ten colours, with
the object's class in two of them. Legend: K crops, D size of CLIP's features.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rcm_bench.canonical import file_digest
from rcm_bench.detectors.mask2former_weights import EXTRA
from rcm_bench.detectors.settings import ColourSettings
from rcm_bench.errors import MissingError, UserError
from rcm_bench.features.pinned import hold_to, missing
from rcm_bench.geneval_prompts import COLORS
from rcm_bench.types import Detection

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

MODEL = "ViT-L-14-quickgelu"
"""OpenAI's weights were trained with QuickGELU; "ViT-L-14" alone would run them with GELU."""
OPENAI = "openai"
PUBLISHED = (
    "GenEval's is OpenAI's ViT-L/14 (about 0.9 GB), which open_clip fetches by its tag: "
    "colours: {weights: openai}"
)
"""Which weights the official evaluation has, for who has none."""
TEMPLATES = (
    "a photo of a {color} {name}",
    "a photo of a {color}-colored {name}",
    "a photo of a {color} object",
)
GROUND = 0x99
BATCH = 64
_LOGIT_SCALE = 100.0


class Crop(NamedTuple):
    """One object to be named: its picture for CLIP (3, S, S), and its class."""

    picture: "Tensor"
    name: str


def crop(image: "NDArray[np.uint8]", detection: Detection) -> Any:
    """Return the object on grey, cut to its box, as a PIL image.

    Args:
        image: (H, W, 3).
        detection: With its mask; the box's edges are whole numbers.
    """
    from PIL import Image

    assert detection.mask is not None
    x0, y0, x1, y1 = (int(round(float(edge))) for edge in detection.box)
    inside = detection.mask[y0:y1, x0:x1, None]
    return Image.fromarray(np.where(inside, image[y0:y1, x0:x1], np.uint8(GROUND)))


class Colours:
    """Names one of ten colours for each crop.

    Args:
        model: An open_clip model in evaluation mode.
        transform: Its transform of a PIL image to a tensor.
        tokenizer: Its tokenizer.
        device: Where it runs; on CUDA under float16 autocast, as upstream.
    """

    def __init__(self, model: Any, transform: Any, tokenizer: Any, device: str) -> None:
        self.model = model.to(device)
        self.transform = transform
        self.tokenizer = tokenizer
        self.device = device
        self._texts: dict[str, Tensor] = {}

    def prepare(self, image: "NDArray[np.uint8]", detection: Detection) -> Crop:
        """Cut an object out for `__call__`; safe on any thread."""
        return Crop(self.transform(crop(image, detection)), detection.name)

    def __call__(self, crops: Sequence[Crop]) -> list[str]:
        """Return the most likely colour of each crop."""
        import torch

        with torch.inference_mode(), self._autocast():
            logits = [self._logits(part) for part in _parts(crops)]
        return [COLORS[index] for part in logits for index in part.argmax(1).tolist()]

    def _logits(self, crops: Sequence[Crop]) -> "Tensor":
        """Return how much each colour (K, 10) is like each crop."""
        import torch
        from torch.nn.functional import normalize

        pictures = torch.stack([each.picture for each in crops]).to(self.device)
        features = normalize(self.model.encode_image(pictures), dim=-1)  # (K, D)
        texts = torch.stack([self._text(each.name) for each in crops])  # (K, 10, D)
        return _LOGIT_SCALE * torch.einsum("kd,kcd->kc", features, texts.to(features.dtype))

    def _text(self, name: str) -> "Tensor":
        """Return the colours' features for a class, (10, D): mean of the normalised, normalised."""
        from torch.nn.functional import normalize

        if name not in self._texts:
            texts = [t.format(color=color, name=name) for color in COLORS for t in TEMPLATES]
            features = self.model.encode_text(self.tokenizer(texts).to(self.device))
            each = normalize(features, dim=-1).view(len(COLORS), len(TEMPLATES), -1)
            self._texts[name] = normalize(each.mean(1), dim=-1)
        return self._texts[name]

    def _autocast(self) -> AbstractContextManager[Any]:
        import torch

        if self.device == "cpu":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.float16)


def _parts(crops: Sequence[Crop]) -> Iterator[Sequence[Crop]]:
    for start in range(0, len(crops), BATCH):
        yield crops[start : start + BATCH]


def check_file(settings: ColourSettings, where: str) -> None:
    """Refuse a file that is not there or another, or a tag that open_clip does not know.

    Raises:
        MissingError: The package or the file is missing.
        UserError: There is no such tag, or the digest differs.
    """
    if find_spec("open_clip") is None:
        raise MissingError(f"GenEval's colours need open_clip: {EXTRA}")
    if settings.is_file:
        if not Path(settings.weights).is_file():
            raise missing(where, Path(settings.weights), PUBLISHED)
        hold_to(Path(settings.weights), settings.sha256, where)
    elif settings.weights != OPENAI and settings.weights not in (known := _tags()):
        raise UserError(
            f"{where}: unknown pretrained tag '{settings.weights}' of {MODEL}. "
            f"Available: {', '.join(known)}; or a .safetensors or .pt file."
        )


def load_colours(settings: ColourSettings, where: str, device: str) -> Colours:
    """Load CLIP through open_clip, in float32; nothing is executed in loading.

    Raises:
        UserError: Package or file is missing, the digest differs, or the weights do not fit.
    """
    check_file(settings, where)
    if settings.is_file and (got := file_digest(Path(settings.weights))) != settings.sha256:
        raise UserError(
            f"{where}: {settings.weights}: expected SHA-256 {settings.sha256}, got {got}"
        )
    open_clip = _open_clip()
    try:
        model, _, transform = open_clip.create_model_and_transforms(
            MODEL, pretrained=settings.weights, force_quick_gelu=True, weights_only=True
        )
    except Exception as fault:
        raise UserError(
            f"{where}: {settings.weights}: cannot be loaded into {MODEL}: {fault}"
        ) from None
    return Colours(model.eval(), transform, open_clip.get_tokenizer(MODEL), device)


def _tags() -> list[str]:
    """Return the tags that open_clip knows; its import brings torch and takes seconds."""
    return list(_open_clip().list_pretrained_tags_by_model(MODEL))


def _open_clip() -> Any:
    try:
        import open_clip
    except ImportError as fault:
        raise MissingError(f"GenEval's colours need open_clip ({fault}): {EXTRA}") from None
    return open_clip
