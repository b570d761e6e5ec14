"""The oracle's first step: the striped background under the objects, by robust least squares."""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from rcm_distill.lab import oracle_settings as settings
from rcm_distill.lab.layout import SIZE
from rcm_distill.lab.render import render_background


class Background(NamedTuple):
    """Fitted parameters in the order of world.BACKGROUND, (B, 5), and the grey image (B, S, S)."""

    parameters: Tensor
    image: Tensor


class _Waves(NamedTuple):
    """Wave vectors (K, 2) of the search, and their cosines and sines at every pixel (P, 2 K)."""

    vectors: Tensor
    basis: Tensor


def smooth(x: Tensor) -> Tensor:
    """Blur images (B, C, S, S) with the 3 x 3 binomial kernel, edges replicated."""
    padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    rows = (padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]) / 4
    blurred: Tensor = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4
    return blurred


@functools.cache
def _pixels(device: torch.device) -> Tensor:
    """Return pixel centres relative to the frame's centre, (P, 2) as x, y."""
    axis = torch.arange(SIZE, device=device) + 0.5 - SIZE / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1).view(-1, 2)


@functools.cache
def _waves(device: torch.device) -> _Waves:
    low, high = settings.BAND
    num = math.ceil(high / settings.BAND_STEP)
    axis = torch.arange(-num, num + 1, device=device) * settings.BAND_STEP
    fy, fx = torch.meshgrid(axis, axis, indexing="ij")
    length = torch.hypot(fx, fy)
    half = (fy > 0) | ((fy == 0) & (fx > 0))  # a wave and its mirror image are the same
    keep = half & (length >= low) & (length <= high)
    vectors = torch.stack([fx[keep], fy[keep]], -1)
    phase = _pixels(device) @ vectors.T
    return _Waves(vectors=vectors, basis=torch.cat([phase.cos(), phase.sin()], 1))


def _masked_median(values: Tensor, mask: Tensor) -> Tensor:
    """Return the median of masked values per row, 0 where the mask is empty."""
    ordered = values.masked_fill(~mask, math.inf).sort(1).values
    middle = ((mask.sum(1) - 1) // 2).clamp(min=0)
    median = ordered.gather(1, middle.unsqueeze(1)).squeeze(1)
    return torch.where(mask.any(1), median, 0.0)


def _refine(grey: Tensor, allowed: Tensor, start: Tensor) -> Tensor:
    """Improve (tone, a, b, fx, fy) of tone + a cos + b sin by Gauss-Newton on inliers."""
    p = start
    x, y = _pixels(grey.device).unbind(-1)
    ridge = torch.diag(torch.tensor([1e-3, 1.0, 1.0, 1.0, 1.0], device=grey.device))
    for step in range(settings.BACKGROUND_STEPS):
        phase = p[:, 3:4] * x + p[:, 4:5] * y
        cos, sin = phase.cos(), phase.sin()
        a, b = p[:, 1:2], p[:, 2:3]
        error = grey - (p[:, 0:1] + a * cos + b * sin)
        weight = allowed if step == 0 else allowed & (error.abs() < settings.INLIER)
        slope = b * cos - a * sin
        jacobian = torch.stack([torch.ones_like(cos), cos, sin, slope * x, slope * y], 1)
        weighted = jacobian * weight.unsqueeze(1)
        normal = weighted @ jacobian.transpose(1, 2) + ridge
        change = torch.linalg.solve(normal, weighted @ error.unsqueeze(-1)).squeeze(-1)
        p = p + torch.cat([change[:, :3], change[:, 3:].clamp(-0.1, 0.1)], 1)
    return p


def _start(grey: Tensor, allowed: Tensor, tone: Tensor) -> Tensor:
    """Find the strongest wave in the band."""
    waves = _waves(grey.device)
    num = len(waves.vectors)
    weight = allowed.sum(1, keepdim=True).clamp(min=1)
    amplitudes = 2 * ((grey - tone.unsqueeze(1)) * allowed) @ waves.basis / weight
    a, b = amplitudes[:, :num], amplitudes[:, num:]
    best = (a**2 + b**2).argmax(1, keepdim=True)
    vector = waves.vectors[best.squeeze(1)]
    return torch.cat([tone.unsqueeze(1), a.gather(1, best), b.gather(1, best), vector], 1)


def _to_world(p: Tensor) -> Tensor:
    """Convert (tone, a, b, fx, fy) about the frame's centre to the world's five parameters."""
    tone, a, b, fx, fy = p.unbind(1)
    phase = torch.atan2(a, b) - (fx + fy) * SIZE / 2
    angle = torch.atan2(fy, fx)
    flip = angle < 0
    phase = torch.where(flip, math.pi - phase, phase)
    angle = torch.where(flip, angle + math.pi, angle)
    frequency = torch.hypot(fx, fy)
    return torch.stack([tone, torch.hypot(a, b), frequency, angle, phase % (2 * math.pi)], 1)


def fit_background(images: Tensor) -> Background:
    """Estimate the background of images (B, 3, S, S) in [-1, 1].

    Smoothed pixels that are nearly grey and neither black nor white vote; the median of their grey
    and the strongest wave start a Gauss-Newton fit that drops outliers. An image without such
    pixels gets a flat background of tone 0.
    """
    soft = smooth(images)
    chroma = soft.amax(1) - soft.amin(1)
    soft_grey = soft.mean(1)
    plausible = (chroma < settings.CHROMA_MAX) & (soft_grey.abs() < settings.GREY_MAX)
    flat, mask = soft_grey.flatten(1), plausible.flatten(1)
    tone = _masked_median(flat, mask)
    mask &= (flat - tone.unsqueeze(1)).abs() < settings.INLIER
    grey = images.mean(1).flatten(1)
    parameters = _to_world(_refine(grey, mask, _start(grey, mask, tone)))
    return Background(parameters=parameters, image=render_background(parameters))
