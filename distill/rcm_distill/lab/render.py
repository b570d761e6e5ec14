"""Anti-aliased rendering of scenes: alpha = clamp(1/2 - signed distance in px, 0, 1)."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcm_distill.lab.grammar import COLORS
from rcm_distill.lab.layout import SIZE
from rcm_distill.lab.shapes import distance
from rcm_distill.lab.world import Scenes

DATA_SCALE = 2.0  # networks see x0 = DATA_SCALE * image, of standard deviation 0.59
PALETTE = {
    "red": (225, 35, 35),
    "orange": (250, 140, 15),
    "yellow": (250, 230, 40),
    "green": (35, 160, 55),
    "blue": (35, 75, 225),
    "purple": (130, 45, 175),
    "pink": (250, 140, 195),
    "brown": (120, 68, 25),
    "black": (12, 12, 12),
    "white": (246, 246, 246),
}  # RGB, 0 to 255; any two, and any one and a background grey, are at least 0.45 apart in [-1, 1]


def palette(device: torch.device | str = "cpu") -> Tensor:
    """Return the ten colours in the range [-1, 1], (10, 3)."""
    rgb = torch.tensor([PALETTE[name] for name in COLORS], dtype=torch.float32, device=device)
    return rgb / 127.5 - 1


def _axis(size: int, device: torch.device) -> Tensor:
    """Return pixel centres in the coordinates of the scene."""
    return (torch.arange(size, device=device) + 0.5) * (SIZE / size)


def render_background(background: Tensor, size: int = SIZE) -> Tensor:
    """Draw the striped backgrounds, (B, 5) to grey images (B, S, S)."""
    tone, amplitude, frequency, angle, phase = background.view(-1, 5, 1, 1).unbind(1)
    axis = _axis(size, background.device)
    along = axis * angle.cos() + axis.view(-1, 1) * angle.sin()
    return tone + amplitude * (frequency * along + phase).sin()


def coverage(scenes: Scenes, size: int = SIZE) -> Tensor:
    """Return the alpha of every slot, (B, 4, S, S); absent objects have none."""
    scale = size / SIZE
    present = (scenes.cls >= 0).nonzero(as_tuple=True)
    alpha = scenes.xy.new_zeros((*scenes.cls.shape, size, size))
    if len(present[0]) == 0:
        return alpha
    center, radius = scenes.xy[present] * scale, scenes.radius[present] * scale
    # Only a window around each object is looked up: alpha vanishes half a pixel outside it.
    width = min(size, math.ceil(2 * float(radius.max())) + 3)
    origin = (center - width / 2).round().clamp(0, size - width).long().unsqueeze(-1)
    pixel = origin + torch.arange(width, device=center.device)  # (N, 2, W)
    local = (pixel + 0.5 - center.unsqueeze(-1)) / radius.view(-1, 1, 1)
    dx, dy = local[:, 0, None, :], local[:, 1, :, None]
    cos, sin = (f(scenes.angle[present]).view(-1, 1, 1) for f in (torch.cos, torch.sin))
    cls = scenes.cls[present].view(-1, 1, 1)
    d = distance(cls, cos * dx + sin * dy, cos * dy - sin * dx)
    rows, slots = (index.view(-1, 1, 1) for index in present)
    values = (0.5 - d * radius.view(-1, 1, 1)).clamp(0, 1)
    return alpha.index_put((rows, slots, pixel[:, 1, :, None], pixel[:, 0, None, :]), values)


def render(scenes: Scenes, size: int = SIZE) -> Tensor:
    """Draw scenes, later slots over earlier ones.

    Args:
        scenes: Scene descriptions, in px of the 40 px frame.
        size: Pixels along a side of the result; the scene is scaled with it.

    Returns:
        Images in [-1, 1], float32 (B, 3, S, S).
    """
    image = render_background(scenes.background, size).unsqueeze(1).expand(-1, 3, -1, -1)
    colors = palette(scenes.xy.device)[scenes.color.clamp(min=0)]
    for slot, alpha in enumerate(coverage(scenes, size).unbind(1)):
        image = torch.lerp(image, colors[:, slot, :, None, None], alpha.unsqueeze(1))
    return image


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Round images (B, 3, S, S) in [-1, 1] to uint8 (B, S, S, 3); values outside are clipped."""
    levels = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
