"""The oracle's third step: which shape each component is, by rendering and comparing.

A normalised template match proposes classes and angles; Levenberg steps refine centre, radius and
angle of the best few by the rendered alpha; the class with the greatest soft overlap wins.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from rcm_distill.lab import oracle_settings as settings
from rcm_distill.lab.grammar import SHAPES
from rcm_distill.lab.layout import SIZE
from rcm_distill.lab.oracle_background import smooth
from rcm_distill.lab.oracle_segment import Components
from rcm_distill.lab.render import palette
from rcm_distill.lab.shapes import distance, distance_gradient


class Fit(NamedTuple):
    """The best shape of each component.

    Attributes:
        cls: Index into SHAPES, (N,).
        pose: Centre x, y in px, radius in px, angle in rad, (N, 4).
        overlap: Soft intersection over union of observed and rendered alpha, 0 to 1, (N,).
        margin: Its lead over the next class refined, (N,).
        misfit: Greatest difference between the two softened alphas, 0 to 1, (N,).
    """

    cls: Tensor
    pose: Tensor
    overlap: Tensor
    margin: Tensor
    misfit: Tensor


class _Patches(NamedTuple):
    """Observed alpha around components and the pixels that count, (N, P); pixel centres (N, P)."""

    alpha: Tensor
    weight: Tensor
    x: Tensor
    y: Tensor


class _Templates(NamedTuple):
    """Normalised templates (8 A, G), with class, angle, centroid offset and scale of each."""

    alpha: Tensor
    cls: Tensor
    angle: Tensor
    offset: Tensor
    scale: Tensor


class _Neighbours(NamedTuple):
    """The greatest and the least label within one pixel, 0 where there is none, (B, S, S)."""

    greatest: Tensor
    least: Tensor


def _neighbours(label: Tensor) -> _Neighbours:
    """Look for labels around every pixel."""
    x = label.float().unsqueeze(1)
    greatest = functional.max_pool2d(x, 3, stride=1, padding=1)
    absent = float(label.max()) + 1
    least = -functional.max_pool2d(-torch.where(x > 0, x, absent), 3, stride=1, padding=1)
    least = torch.where(least < absent, least, 0.0)
    return _Neighbours(greatest=greatest.squeeze(1), least=least.squeeze(1))


def _cut(images: Tensor, background: Tensor, parts: Components) -> _Patches:
    """Cut windows around the boxes' centres; pixels of other components or outside do not count."""
    half = settings.WINDOW // 2
    center = ((parts.box[:, :2] + parts.box[:, 2:]) // 2).unsqueeze(-1)
    index = center + torch.arange(-half, half + 1, device=images.device)  # (N, 2, W)
    known = (index >= 0) & (index < SIZE)
    inside = known[:, 1, :, None] & known[:, 0, None, :]
    safe = index.clamp(0, SIZE - 1)
    at = (parts.image.view(-1, 1, 1), safe[:, 1, :, None], safe[:, 0, None, :])
    label = parts.label[at]
    own = torch.arange(1, len(parts.area) + 1, device=images.device).view(-1, 1, 1)
    free = torch.ones_like(label, dtype=torch.bool)
    for near in _neighbours(parts.label):
        free &= (near[at] == own) | (near[at] == 0)
    pixels = images.permute(0, 2, 3, 1)[at]  # (N, W, W, 3)
    ground = background[at].unsqueeze(-1)
    toward = palette(images.device)[parts.color].view(-1, 1, 1, 3) - ground
    alpha = ((pixels - ground) * toward).sum(-1) / (toward**2).sum(-1)
    weight = (inside & (free | (label == own))).float()
    x = (index[:, 0, None, :] + 0.5).expand_as(alpha)
    y = (index[:, 1, :, None] + 0.5).expand_as(alpha)
    return _Patches(*(t.flatten(1) for t in (alpha.clamp(0, 1), weight, x, y)))


class _Moments(NamedTuple):
    """Centroid (N, 2) and radius of the disc of equal area (N,), in px."""

    centroid: Tensor
    scale: Tensor


def _moments(patches: _Patches) -> _Moments:
    mass = patches.alpha * patches.weight
    area = mass.sum(1).clamp(min=1.0)
    centroid = torch.stack([(mass * patches.x).sum(1), (mass * patches.y).sum(1)], 1)
    return _Moments(centroid=centroid / area.unsqueeze(1), scale=(area / math.pi).sqrt())


@functools.cache
def _grid(device: torch.device) -> Tensor:
    """Return the sampling points of the normalised patch, (G, 2)."""
    axis = (torch.arange(settings.COARSE, device=device) + 0.5) / settings.COARSE
    axis = (2 * axis - 1) * settings.COARSE_EXTENT
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1).view(-1, 2)


@functools.cache
def _templates(device: torch.device) -> _Templates:
    axis = torch.linspace(-1.1, 1.1, 221, device=device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    rows = []
    for cls in range(len(SHAPES)):
        k = torch.tensor(cls, device=device)
        inside = (distance(k, x, y) < 0).float()
        scale = (inside.sum() * (2.2 / 220) ** 2 / math.pi).sqrt()
        mean = torch.stack([(inside * x).sum(), (inside * y).sum()]) / inside.sum()
        for angle in settings.ANGLES:
            cos, sin = math.cos(angle), math.sin(angle)
            offset = torch.stack([cos * mean[0] - sin * mean[1], sin * mean[0] + cos * mean[1]])
            p = _grid(device) * scale + offset
            d = distance(k, cos * p[:, 0] + sin * p[:, 1], cos * p[:, 1] - sin * p[:, 0])
            alpha = (0.5 - d * 6.5).clamp(0, 1)  # edges as soft as those of a 6.5 px shape
            rows.append((alpha, k, torch.tensor(angle, device=device), offset, scale))
    return _Templates(*(torch.stack(column) for column in zip(*rows, strict=True)))


class _Candidates(NamedTuple):
    """Classes (N, K) and starting poses (N, K, 4)."""

    cls: Tensor
    pose: Tensor


def _propose(patches: _Patches) -> _Candidates:
    """Match templates in the frame of centroid and area; keep the best classes."""
    moments = _moments(patches)
    n, device = len(patches.alpha), patches.alpha.device
    p = moments.centroid.unsqueeze(1) + _grid(device) * moments.scale.view(-1, 1, 1)
    side = settings.WINDOW
    origin = torch.stack([patches.x[:, :1], patches.y[:, :1]], -1)
    local = (p - origin + 0.5) * (2 / side) - 1
    stack = (patches.alpha * patches.weight).view(n, 1, side, side)
    seen = functional.grid_sample(stack, local.unsqueeze(1), align_corners=False).flatten(1)
    templates = _templates(device)
    error = (templates.alpha**2).sum(1) - 2 * seen @ templates.alpha.T
    per_class = error.view(n, len(SHAPES), len(settings.ANGLES)).min(2)
    cls = per_class.values.topk(settings.CANDIDATES, dim=1, largest=False).indices
    row = cls * len(settings.ANGLES) + per_class.indices.gather(1, cls)
    radius = moments.scale.unsqueeze(1) / templates.scale[row]
    center = moments.centroid.unsqueeze(1) - radius.unsqueeze(-1) * templates.offset[row]
    angle = templates.angle[row]
    return _Candidates(cls=cls, pose=torch.cat([center, torch.stack([radius, angle], -1)], -1))


class _Render(NamedTuple):
    """Rendered alpha (M, P) and its derivatives by pose (M, 4, P)."""

    alpha: Tensor
    jacobian: Tensor


def _draw(cls: Tensor, pose: Tensor, x: Tensor, y: Tensor) -> _Render:
    """Draw shapes at pixels with derivatives.

    The derivative is that of an edge two pixels wide: the true one is one pixel wide, and too
    narrow to see an error of more than half a pixel.
    """
    cx, cy, radius, angle = pose.unsqueeze(-1).unbind(1)
    cos, sin = angle.cos(), angle.sin()
    dx, dy = (x - cx) / radius, (y - cy) / radius
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    d = distance_gradient(cls.unsqueeze(-1), u, v)
    px = d.value * radius
    slope = -0.5 * (px.abs() < 1)
    jacobian = torch.stack(
        [
            -slope * (cos * d.dx - sin * d.dy),
            -slope * (sin * d.dx + cos * d.dy),
            slope * (d.value - u * d.dx - v * d.dy),
            slope * radius * (d.dx * v - d.dy * u),
        ],
        1,
    )
    return _Render(alpha=(0.5 - px).clamp(0, 1), jacobian=jacobian)


def _limit(pose: Tensor) -> Tensor:
    """Keep radius and angle within their limits."""
    radius = pose[:, 2:3].clamp(*settings.RADIUS)
    angle = pose[:, 3:].clamp(-settings.ANGLE_MAX, settings.ANGLE_MAX)
    return torch.cat([pose[:, :2], radius, angle], 1)


def _refine(cls: Tensor, start: Tensor, patches: _Patches) -> Tensor:
    """Take damped Gauss-Newton steps from poses (M, 4) and return the best pose met."""
    pose = best = _limit(start)
    best_loss = torch.full((len(pose),), math.inf, device=pose.device)
    damping = torch.tensor([0.1, 0.1, 0.1, 3.0], device=pose.device).diag()
    for step in range(settings.FIT_STEPS + 1):
        drawn = _draw(cls, pose, patches.x, patches.y)
        error = (patches.alpha - drawn.alpha) * patches.weight
        loss = (error**2).sum(1)
        better = loss < best_loss
        best = torch.where(better.unsqueeze(1), pose, best)
        best_loss = torch.where(better, loss, best_loss)
        if step == settings.FIT_STEPS:
            break
        weighted = drawn.jacobian * patches.weight.unsqueeze(1)
        normal = weighted @ drawn.jacobian.transpose(1, 2) + damping
        change = torch.linalg.solve(normal, weighted @ error.unsqueeze(-1)).squeeze(-1)
        pose = _limit(pose + change)
    return best


def _soften(values: Tensor) -> Tensor:
    """Blur flattened patches (M, P); returns (M, P)."""
    side = settings.WINDOW
    images = values.view(-1, 1, side, side)
    for _ in range(settings.SOFTENINGS):
        images = smooth(images)
    return images.flatten(1)


class _Match(NamedTuple):
    """Agreement of observed and rendered alpha: soft overlap, and greatest difference, (M,)."""

    overlap: Tensor
    misfit: Tensor


def _match(cls: Tensor, pose: Tensor, patches: _Patches) -> _Match:
    """Compare observed and rendered alpha.

    Both are blurred first: noise and soft edges then cost little, a wrong outline costs as much.
    """
    alpha = _soften(_draw(cls, pose, patches.x, patches.y).alpha * patches.weight)
    seen = _soften(patches.alpha * patches.weight)
    either = torch.maximum(alpha, seen).sum(1).clamp(min=1.0)
    return _Match(
        overlap=torch.minimum(alpha, seen).sum(1) / either,
        misfit=(alpha - seen).abs().amax(1),
    )


def fit_shapes(images: Tensor, background: Tensor, parts: Components) -> Fit:
    """Fit every component of images (B, 3, S, S) in front of grey backgrounds (B, S, S).

    A component that exceeds the window is no shape of the world: overlap 0, misfit 1.
    """
    patches = _cut(images, background, parts)
    candidates = _propose(patches)
    k = settings.CANDIDATES
    repeated = _Patches(*(t.repeat_interleave(k, 0) for t in patches))
    cls = candidates.cls.flatten()
    pose = _refine(cls, candidates.pose.flatten(0, 1), repeated)
    match = _match(cls, pose, repeated)
    fits = (parts.box[:, 2:] - parts.box[:, :2]).amax(1) <= settings.WINDOW
    overlap = match.overlap.view(-1, k) * fits.unsqueeze(1)
    top = overlap.topk(2, dim=1)
    row = torch.arange(len(overlap), device=overlap.device)
    first = top.indices[:, 0]
    return Fit(
        cls=candidates.cls[row, first],
        pose=pose.view(-1, k, 4)[row, first],
        overlap=top.values[:, 0],
        margin=top.values[:, 0] - top.values[:, 1],
        misfit=torch.where(fits, match.misfit.view(-1, k)[row, first], 1.0),
    )
