"""Known doses of damage to images: noise, blur, compression; and blobs that are no shape."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Generator, Tensor

from rcm_distill.lab.layout import SIZE
from rcm_distill.lab.render import coverage, palette, render_background, to_uint8
from rcm_distill.lab.world import Scenes

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """A dose of damage, applied in the order blur, noise, JPEG; zero means none.

    Attributes:
        blur: Standard deviation of a Gaussian blur, px.
        noise: Standard deviation of Gaussian noise, image range 0 to 1.
        jpeg: Quality of a JPEG round trip without chroma subsampling, 1 to 95.
    """

    blur: float = 0.0
    noise: float = 0.0
    jpeg: int = 0

    def __str__(self) -> str:
        """Name the dose, as in "blur 0.5 + noise 0.05"."""
        doses = {"blur": self.blur, "noise": self.noise, "jpeg": self.jpeg}
        return " + ".join(f"{name} {dose:g}" for name, dose in doses.items() if dose) or "none"

    def __call__(self, images: Bytes, rng: np.random.Generator) -> Bytes:
        """Damage images (B, S, S, 3)."""
        x = images.astype(np.float32)
        if self.blur:
            x = ndimage.gaussian_filter(x, (0, self.blur, self.blur, 0), mode="nearest")
        if self.noise:
            x = x + rng.normal(0, 255 * self.noise, x.shape).astype(np.float32)
        levels = np.clip(np.rint(x), 0, 255).astype(np.uint8)
        return np.stack([_jpeg(image, self.jpeg) for image in levels]) if self.jpeg else levels


def _jpeg(image: Bytes, quality: int) -> Bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "jpeg", quality=quality, subsampling=0)
    return np.asarray(Image.open(stream).convert("RGB"))


def _paint(scenes: Scenes, alpha: Tensor) -> Bytes:
    """Paint one alpha (B, S, S) in the colour of slot 0 over the scenes' backgrounds."""
    ground = render_background(scenes.background).unsqueeze(1)
    color = palette()[torch.where(scenes.color[:, 0] < 0, 0, scenes.color[:, 0])]
    return to_uint8(
        torch.lerp(ground.expand(-1, 3, -1, -1), color[:, :, None, None], alpha[:, None])
    )


def merged(scenes: Scenes, generator: Generator) -> Bytes:
    """Draw two shapes of the first object's colour as one blob, centres 0.5 to 1 radius apart."""
    turn = 2 * torch.pi * torch.rand(len(scenes.cls), generator=generator)
    reach = (0.5 + 0.5 * torch.rand(len(scenes.cls), generator=generator)) * scenes.radius[:, 0]
    step = reach.unsqueeze(1) * torch.stack([turn.cos(), turn.sin()], 1)
    other = (scenes.cls[:, 0] + torch.randint(8, turn.shape, generator=generator)) % 8
    pair = scenes._replace(
        cls=torch.stack([scenes.cls[:, 0], other], 1),
        xy=torch.stack([scenes.xy[:, 0], scenes.xy[:, 0] + step], 1),
        radius=scenes.radius[:, :1].expand(-1, 2),
        angle=scenes.angle[:, :1].expand(-1, 2),
    )
    return _paint(scenes, coverage(pair).amax(1))


def halved(scenes: Scenes, generator: Generator) -> Bytes:
    """Draw the first object cut off by a straight line within 0.3 radii of its centre."""
    turn = 2 * torch.pi * torch.rand(len(scenes.cls), 1, 1, generator=generator)
    shift = 0.6 * torch.rand(turn.shape, generator=generator) - 0.3
    axis = torch.arange(SIZE) + 0.5
    x = axis.view(1, 1, -1) - scenes.xy[:, 0, :1, None]
    y = axis.view(1, -1, 1) - scenes.xy[:, 0, 1:, None]
    line = turn.cos() * x + turn.sin() * y - shift * scenes.radius[:, 0].view(-1, 1, 1)
    return _paint(scenes, coverage(scenes)[:, 0] * (0.5 - line).clamp(0, 1))


def blobs(scenes: Scenes, rng: np.random.Generator) -> Bytes:
    """Draw random smooth blobs of no particular shape."""
    field = rng.normal(size=(len(scenes.cls), SIZE, SIZE))
    field = ndimage.gaussian_filter(field, (0, 3, 3), mode="constant")
    field /= field.std((1, 2), keepdims=True)
    alpha = torch.from_numpy(np.clip(3 * (field - 1.2) + 0.5, 0, 1)).float()
    return _paint(scenes, alpha)


def no_shapes(scenes: Scenes, seed: int) -> Bytes:
    """Draw images whose blobs are no shape: merged, halved and random ones by turns."""
    third = len(scenes.cls) // 3
    parts = [Scenes(*(t[k * third : (k + 1) * third] for t in scenes)) for k in range(3)]
    generator = Generator().manual_seed(seed)
    first, second = merged(parts[0], generator), halved(parts[1], generator)
    return np.concatenate([first, second, blobs(parts[2], np.random.default_rng(seed))])


NONE = Damage()
MILD = (
    NONE,
    *(Damage(noise=sigma) for sigma in (0.02, 0.05, 0.1)),
    *(Damage(blur=sigma) for sigma in (0.5, 0.75, 1.0)),
    *(Damage(jpeg=quality) for quality in (90, 75, 50)),
    Damage(blur=0.5, noise=0.05),
    Damage(blur=0.5, jpeg=75),
    Damage(noise=0.05, jpeg=75),
    Damage(blur=0.5, noise=0.05, jpeg=75),
    Damage(blur=1.0, noise=0.05),
)
SEVERE = (
    *(Damage(noise=sigma) for sigma in (0.15, 0.2)),
    *(Damage(blur=sigma) for sigma in (1.5, 2.0)),
    *(Damage(jpeg=quality) for quality in (30, 15)),
    Damage(blur=1.0, noise=0.1, jpeg=50),
)
