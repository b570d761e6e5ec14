"""The oracle's second step: foreground components, their colours and boxes."""

from typing import NamedTuple

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from rcm_distill.lab import oracle_settings as settings
from rcm_distill.lab.oracle_background import smooth
from rcm_distill.lab.render import palette

_IN_PLANE = [[[0] * 3] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0] * 3] * 3]


class Components(NamedTuple):
    """Connected foreground components of a batch, N in all.

    Attributes:
        label: Label image, 0 = background or noise, n + 1 = component n, (B, S, S) int64.
        image: Which image each lies in, (N,).
        area: Pixels, (N,).
        box: Tight boxes x0, y0, x1, y1, exclusive, (N, 4).
        color: Index of the nearest palette entry, (N,).
        color_lead: (d2 - d1) / (d2 + d1) of the core's mean colour and the nearest two entries:
            1 = exactly an entry, 0 = half-way between two, (N,).
    """

    label: Tensor
    image: Tensor
    area: Tensor
    box: Tensor
    color: Tensor
    color_lead: Tensor


def _noise(images: Tensor) -> Tensor:
    """Estimate the noise level per channel from the median of a second difference, (B,)."""
    d = images[..., 1:, 1:] - images[..., :-1, 1:] - images[..., 1:, :-1] + images[..., :-1, :-1]
    median: Tensor = d.abs().flatten(1).median(1).values
    return median / (0.6745 * 2)


def _foreground(images: Tensor, background: Tensor) -> Tensor:
    """Mark pixels inside the contour of half coverage, bool (B, S, S)."""
    noise = _noise(images).view(-1, 1, 1, 1)
    noisy = noise > settings.NOISY
    clean = torch.where(noisy, smooth(images), images)
    d = torch.linalg.vector_norm(clean - background.unsqueeze(1), dim=1)
    # The binomial kernel leaves 3/8 of the noise; three channels add up in the distance.
    left = torch.where(noisy, 0.375 * noise, noise).squeeze(1) * 3**0.5
    floor = (settings.NOISE_FLOOR * left).clamp(settings.FLOOR, settings.FLOOR_MAX)
    rows = functional.max_pool2d(d.unsqueeze(1), (5, 1), stride=1, padding=(2, 0))
    peak = functional.max_pool2d(rows, (1, 5), stride=1, padding=(0, 2)).squeeze(1)
    mask: Tensor = (d > floor) & (d > settings.FRACTION * peak)
    return mask


class _Labels(NamedTuple):
    image: Tensor
    area: Tensor


def _label(foreground: Tensor) -> _Labels:
    """Label 4-connected components of at least MIN_AREA px image by image, 1 upwards."""
    labels, num = ndimage.label(foreground.cpu().numpy(), structure=_IN_PLANE)
    image = torch.from_numpy(labels).to(foreground.device).long()
    area = torch.bincount(image.flatten(), minlength=num + 1)
    keep = area >= settings.MIN_AREA
    keep[0] = False
    renumbered = torch.where(keep, keep.cumsum(0), 0)
    return _Labels(image=renumbered[image], area=area[keep])


def _boxes(label: Tensor, num: int) -> Tensor:
    """Return tight exclusive boxes (num, 4)."""
    at = label.nonzero()
    which = label[at[:, 0], at[:, 1], at[:, 2]] - 1
    y, x = at[:, 1], at[:, 2]
    low = torch.full((2, num), label.shape[-1], device=label.device)
    high = torch.zeros_like(low)
    for row, values in enumerate((x, y)):
        low[row] = low[row].scatter_reduce(0, which, values, "amin")
        high[row] = high[row].scatter_reduce(0, which, values + 1, "amax")
    return torch.stack([low[0], low[1], high[0], high[1]], 1)


def _core_colors(images: Tensor, label: Tensor, num: int) -> Tensor:
    """Return mean colours (num, 3) of the eroded cores; of all pixels where a core has under 4."""
    inside = (label > 0).float().unsqueeze(1)
    plus = torch.tensor(_IN_PLANE[1], dtype=torch.float32, device=label.device).view(1, 1, 3, 3)
    core = functional.conv2d(inside, plus, padding=1).squeeze(1) > 4.5
    sums = []
    for mask in (core, label > 0):
        which = torch.where(mask, label, 0).flatten()
        pixels = torch.cat([images, torch.ones_like(images[:, :1])], 1)
        flat = pixels.permute(0, 2, 3, 1).reshape(-1, 4)
        sums.append(flat.new_zeros(num + 1, 4).index_add(0, which, flat)[1:])
    total = torch.where(sums[0][:, 3:] >= 4, sums[0], sums[1])
    return total[:, :3] / total[:, 3:]


def segment(images: Tensor, background: Tensor) -> Components:
    """Find the components of images (B, 3, S, S) in front of grey backgrounds (B, S, S)."""
    labels = _label(_foreground(images, background))
    num = len(labels.area)
    owner = torch.zeros(num + 1, dtype=torch.long, device=images.device)
    index = torch.arange(len(images), device=images.device).view(-1, 1, 1).expand_as(labels.image)
    owner[labels.image.flatten()] = index.flatten()
    colors = _core_colors(images, labels.image, num)
    nearest = torch.cdist(colors, palette(images.device)).topk(2, dim=1, largest=False)
    first, second = nearest.values.unbind(1)
    return Components(
        label=labels.image,
        image=owner[1:],
        area=labels.area,
        box=_boxes(labels.image, num),
        color=nearest.indices[:, 0],
        color_lead=(second - first) / (second + first),
    )
