"""All native dimensions of one decoded video, with every network loaded once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rcm_bench.vbench.native import networks, weights
from rcm_bench.vbench.native.aesthetic_quality import aesthetic_quality
from rcm_bench.vbench.native.appearance_style import appearance_style, text_feature
from rcm_bench.vbench.native.background_consistency import background_consistency
from rcm_bench.vbench.native.clip_features import clip_features
from rcm_bench.vbench.native.dynamic_degree import dynamic_degree
from rcm_bench.vbench.native.imaging_quality import imaging_quality
from rcm_bench.vbench.native.parts import Parts
from rcm_bench.vbench.native.pixels import on_device
from rcm_bench.vbench.native.static_filter import is_static
from rcm_bench.vbench.native.subject_consistency import subject_consistency
from rcm_bench.vbench.native.temporal_flickering import temporal_flickering

if TYPE_CHECKING:
    from torch import Tensor

    from rcm_bench.vbench.native.flow import Flow
    from rcm_bench.video import Video

BACKGROUND, AESTHETIC = "background_consistency", "aesthetic_quality"


@dataclass(frozen=True)
class Networks:
    """The networks that dimensions share, each loaded when it is first asked for.

    Args:
        files: Weight files.
        device: Torch device.
    """

    files: weights.WeightFiles
    device: str = "cpu"

    @cached_property
    def dino(self) -> Any:
        """DINO ViT-B/16."""
        return networks.load_dino(self.files, self.device)

    @cached_property
    def clip_b(self) -> Any:
        """CLIP ViT-B/32."""
        return networks.load_clip(self.files, weights.CLIP_B, self.device)

    @cached_property
    def clip_l(self) -> Any:
        """CLIP ViT-L/14."""
        return networks.load_clip(self.files, weights.CLIP_L, self.device)

    @cached_property
    def aesthetic(self) -> Any:
        """LAION's linear layer."""
        return networks.load_aesthetic(self.files, self.device)

    @cached_property
    def musiq(self) -> Any:
        """MUSIQ."""
        return networks.load_musiq(self.files, self.device)

    @cached_property
    def flow(self) -> "Flow":
        """RAFT."""
        return networks.load_flow(self.files, self.device)

    @cached_property
    def _styles(self) -> "dict[str, Tensor]":
        return {}

    def style(self, text: str) -> "Tensor":
        """Return CLIP's feature of a style's name."""
        if text not in self._styles:
            self._styles[text] = text_feature(self.clip_b, text, self.device)
        return self._styles[text]


def evaluate(
    video: "Video", dimensions: Sequence[str], networks: Networks, style: str | None = None
) -> dict[str, Parts]:
    """Return a video's parts of each dimension.

    Args:
        video: The decoded video, of at least two frames for the dimensions that compare them.
        dimensions: Which of the seven.
        networks: The networks.
        style: The style that VBench names for the prompt; needed for ``appearance_style``.
    """
    device = networks.device
    clips = {}
    if BACKGROUND in dimensions:
        clips[BACKGROUND] = networks.clip_b
    if AESTHETIC in dimensions:
        clips[AESTHETIC] = networks.clip_l
    frames = on_device(video.frames, device)
    bt601 = frames if video.frames_bt601 is video.frames else on_device(video.frames_bt601, device)
    features = clip_features(frames, clips) if clips else {}
    found: dict[str, Parts] = {}
    for name in dimensions:
        if name == "subject_consistency":
            found[name] = subject_consistency(frames, networks.dino)
        elif name == BACKGROUND:
            found[name] = background_consistency(features[name])
        elif name == "temporal_flickering":
            found[name] = temporal_flickering(bt601)
        elif name == "dynamic_degree":
            found[name] = dynamic_degree(bt601, video.fps, networks.flow)
        elif name == AESTHETIC:
            found[name] = aesthetic_quality(features[name], networks.aesthetic)
        elif name == "imaging_quality":
            found[name] = imaging_quality(frames, networks.musiq)
        elif name == "appearance_style" and style is not None:
            text = networks.style(style)
            found[name] = appearance_style(video.frames, text, networks.clip_b, device)
        else:
            raise ValueError(f"no native dimension {name!r} (style: {style!r})")
    return found


def static(video: "Video", networks: Networks) -> bool:
    """Say whether the static filter keeps a video."""
    return is_static(on_device(video.frames_bt601, networks.device), networks.flow)
