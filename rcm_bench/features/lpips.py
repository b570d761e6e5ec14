"""LPIPS as a place in space: its distance of two images is squared Euclidean, so each has a point.

LPIPS(x, y) = sum_l 1/(H_l W_l) sum_hw sum_c w_lc (a_lhwc(x) - a_lhwc(y))^2 = |p(x) - p(y)|^2,
p(x) = all sqrt(w_lc / (H_l W_l)) a_lhwc(x), a the activations with length 1 in every place. The
learned w are never negative. One point an image, so N images need N passes, not N^2.

A point has a million coordinates at 256 px. They are folded into ``sketch`` by a fixed count
sketch (Charikar et al. 2002): each coordinate is added, with a fixed random sign, to one of the
sketch's. Distances stay right on average; one of them has a relative standard deviation of at most
sqrt(2 / sketch), 2.2 % for 4096. A mean over pairs and prompts has far less.
"""

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from rcm_bench.checkpoints.fill import fill
from rcm_bench.errors import UserError
from rcm_bench.features.pinned import PinnedFile, needs, read_tensors
from rcm_bench.features.preparing import in_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

BATCH = 16
_SEED = 20261124
_SLICE = re.compile(r"^(slices\.\d+|slice\d+)\.")
"""What torchmetrics puts before torchvision's names."""


class Settings(PinnedFile):
    """LPIPS of torchmetrics; ``weights`` is torchvision's ImageNet backbone of the same name."""

    net: Literal["alex", "vgg", "squeeze"] = "alex"
    size: int = Field(default=256, ge=32, description="Side to which images are resized, in pixels")
    sketch: int | None = Field(
        default=4096, ge=64, description="Coordinates that are kept; null keeps all of them"
    )
    distance: Literal["squared"] = "squared"

    published: ClassVar[str] = (
        "LPIPS has torchvision's ImageNet weights of alexnet, vgg16 or squeezenet1_1, as 'net' says"
    )

    def load(self, where: str, device: str) -> "Lpips":
        """Load the backbone from its file; the learned weights come with torchmetrics.

        Raises:
            UserError: The package or the file is missing, the digest differs, or it does not fit.
        """
        try:
            from torchmetrics.functional.image.lpips import _NoTrainLpips
        except ImportError as fault:
            needs("torchmetrics and torchvision", "LPIPS", fault)
        # With pnet_rand the backbone is not downloaded; it is filled here.
        model: Any = _NoTrainLpips(pretrained=True, net=self.net, pnet_rand=True)
        path = self.verified(where)
        tensors = {k: v for k, v in read_tensors(path, where).items() if k.startswith("features.")}
        known = {_SLICE.sub("", k): k for k in model.net.state_dict()}
        named = {known.get(k.removeprefix("features."), k): v for k, v in tensors.items()}
        fill(model.net, named, f"{where}: {path}")
        if any(bool((lin.model[-1].weight < 0).any()) for lin in model.lins):
            raise UserError(f"{where}: expected no negative weight among LPIPS's learned ones")
        return Lpips(model.eval().to(device), self.size, self.sketch, device)


class Lpips:
    """Images to points whose squared distances are LPIPS.

    Args:
        model: torchmetrics' module.
        size: Side to which images are resized, area below and bilinear above their own.
        sketch: Coordinates that are kept, or None.
        device: Where it runs.
    """

    def __init__(self, model: Any, size: int, sketch: int | None, device: str) -> None:
        self.model, self.size, self.sketch, self.device = model, size, sketch, device
        self._fold: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None

    def __call__(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Return points (B, D) of images (B, H, W, 3)."""
        import torch

        with torch.inference_mode():
            found = [
                self._folded(self.points(self.prepared(part)).cpu().numpy())
                for part in in_parts(images, BATCH)
            ]
        return np.concatenate(found)

    def prepared(self, images: "NDArray[np.uint8]") -> "Tensor":
        """Return images (B, 3, size, size) in [-1, 1]."""
        import torch
        from torch.nn.functional import interpolate

        pixels = torch.tensor(images).permute(0, 3, 1, 2).float().to(self.device) / 127.5 - 1
        side = (self.size, self.size)
        if min(pixels.shape[-2:]) >= self.size:
            return interpolate(pixels, side, mode="area")
        return interpolate(pixels, side, mode="bilinear", align_corners=False)

    def points(self, pixels: "Tensor") -> "Tensor":
        """Return all coordinates (B, D) of images (B, 3, H, W) in [-1, 1]."""
        import torch

        parts = []
        stages = self.model.net(self.model.scaling_layer(pixels))
        for activations, line in zip(stages, self.model.lins, strict=True):
            weights = line.model[-1].weight  # (1, C, 1, 1)
            height, width = activations.shape[-2:]
            scale = (weights / (height * width)).sqrt()
            # torchmetrics adds 1e-8 to the squared length.
            length = (activations.square().sum(1, keepdim=True) + 1e-8).sqrt()
            parts.append((scale * activations / length).flatten(1))
        return torch.cat(parts, 1)

    def _folded(self, points: "NDArray[np.float32]") -> "NDArray[np.float32]":
        if self.sketch is None or points.shape[1] <= self.sketch:
            return points
        if self._fold is None:
            rng = np.random.default_rng(_SEED)
            place = rng.integers(0, self.sketch, points.shape[1])
            signs = np.array([-1, 1], dtype=np.float32)
            self._fold = np.asarray(place), rng.choice(signs, points.shape[1])
        places, sign = self._fold
        rows = [np.bincount(places, sign * point, minlength=self.sketch) for point in points]
        return np.stack(rows).astype(np.float32)
