"""Features for the calibration: no network here has seen a photograph.

Hand features (small pixels), real architectures with random weights (DINOv2, CLIP's vision
transformer, LPIPS's SqueezeNet under its learned weights of channels), and hidden activations of
the laboratory's own trained teacher.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from rcm_bench.canonical import file_digest
from rcm_bench.features import Extractor
from rcm_bench.features.clip import Settings as ClipSettings
from rcm_bench.features.dino import Settings as DinoSettings
from rcm_bench.features.lpips import Settings as LpipsSettings
from rcm_bench.features.pixels import Settings as PixelSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHERE = "calibration"
_CLIP = "calibration-clip"
_SIDE = 56
_NOISE_TIME = 0.3  # share of noise at which the teacher looks at an image


class Network(NamedTuple):
    """One kind of features.

    Attributes:
        name: Name for tables.
        distance: How two samples are compared.
        extractor: Images to features.
    """

    name: str
    distance: Literal["cosine", "squared"]
    extractor: Extractor


def networks(seed: int) -> Iterator[Network]:
    """Yield the kinds of features.

    Args:
        seed: Where random weights come from.
    """
    yield Network("pixels, 8x8", "squared", PixelSettings(size=8).load(WHERE, "cpu"))
    yield Network("teacher's hidden layer", "cosine", Teacher())
    torch.manual_seed(seed)
    yield Network("DINOv2, random weights", "cosine", _random_dino())
    yield Network("LPIPS, random SqueezeNet", "squared", _random_lpips())
    yield Network("CLIP, random weights", "cosine", _random_clip())


def _random_dino() -> Extractor:
    """Save a small DINOv2 with random weights, and load it as the benchmark would."""
    import transformers

    config = transformers.Dinov2Config(
        hidden_size=192, num_hidden_layers=6, num_attention_heads=3, image_size=_SIDE, patch_size=14
    )
    with tempfile.TemporaryDirectory() as name, _quiet():
        folder = Path(name)
        transformers.Dinov2Model(config).save_pretrained(folder)
        settings = DinoSettings(
            weights=name,
            sha256=file_digest(folder / "model.safetensors"),
            config_sha256=file_digest(folder / "config.json"),
            resize=_SIDE,
            crop=_SIDE,
        )
        return settings.load(WHERE, "cpu")


def _random_lpips() -> Extractor:
    """Save a SqueezeNet with random weights, and load it as the benchmark would."""
    import torchvision

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "squeeze.pth"
        torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
        settings = LpipsSettings(
            net="squeeze", weights=str(path), sha256=file_digest(path), size=64, sketch=4096
        )
        return settings.load(WHERE, "cpu")


def _random_clip() -> Extractor:
    """Save a small CLIP with random weights, and load it as the benchmark would."""
    import open_clip

    vision = {"image_size": 64, "patch_size": 8, "layers": 6, "width": 192, "head_width": 64}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    config = {"embed_dim": 192, "vision_cfg": vision, "text_cfg": text}
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / f"{_CLIP}.json").write_text(json.dumps(config), encoding="utf-8")
        open_clip.add_model_config(name)
        path = Path(name) / "clip.pt"
        torch.save(open_clip.create_model(_CLIP).state_dict(), path)
        settings = ClipSettings(model=_CLIP, weights=str(path), sha256=file_digest(path))
        return settings.load(WHERE, "cpu")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import transformers

    logging: Any = transformers.utils.logging
    logging.disable_progress_bar()
    yield


class Teacher:
    """The laboratory's teacher, asked for nothing: mean tokens of its middle block."""

    def __init__(self) -> None:
        from rcm_bench.weights_files import shipped_weights
        from rcm_distill import checkpoint

        self.net: Any = checkpoint.load(shipped_weights()["lab-teacher"], "cpu").net

    def __call__(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Return features (B, D) of images (B, S, S, 3)."""
        from rcm_distill.lab.grammar import MAX_WORDS, NULL
        from rcm_distill.lab.render import DATA_SCALE

        kept: list[torch.Tensor] = []
        blocks = list(self.net.blocks)
        hook = blocks[len(blocks) // 2].register_forward_hook(
            lambda _module, _inputs, output: kept.append(output.mean(1))
        )
        try:
            with torch.inference_mode():
                for start in range(0, len(images), 64):
                    part = torch.tensor(images[start : start + 64]).permute(0, 3, 1, 2)
                    x0 = DATA_SCALE * (part.float() / 127.5 - 1)
                    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
                    x_t = (1 - _NOISE_TIME) * x0 + _NOISE_TIME * noise[:1]
                    words = torch.full((len(x0), MAX_WORDS), NULL)
                    self.net(x_t, torch.full((len(x0),), _NOISE_TIME), words)
        finally:
            hook.remove()
        found: NDArray[np.float32] = torch.cat(kept).numpy()
        centred: NDArray[np.float32] = found - found.mean(1, keepdims=True)
        return centred
