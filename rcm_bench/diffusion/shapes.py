"""Sizes that a model can take, checked at the plan."""

from collections.abc import Mapping, Sequence
from typing import Any

from rcm_bench.diffusion.settings import DiffusionSettings
from rcm_bench.errors import UserError

SPATIAL = 8  # pixels of a latent's side, with patches of 2: 16
TEMPORAL = 4
Latent = tuple[int, int, int, int]


def latent_shape(settings: DiffusionSettings, config: Mapping[str, Any]) -> Latent:
    """Return C, T, H, W of one sample's latents."""
    height, width = settings.resolution
    frames = (settings.frames - 1) // TEMPORAL + 1
    return int(config["out_channels"]), frames, height // SPATIAL, width // SPATIAL


def check_shape(
    settings: DiffusionSettings, config: Mapping[str, Any], pipeline: str, place: str
) -> None:
    """Refuse sizes that the networks do not have.

    Args:
        settings: Of the model entry.
        config: The transformer's configuration.
        pipeline: Name of diffusers' pipeline class.
        place: File, line and model entry, for messages.

    Raises:
        UserError: A side, the number of frames or the frame rate is wrong.
    """
    patch = [int(p) for p in config["patch_size"]]
    check_sides(settings.resolution, [SPATIAL * p for p in patch[1:]], place)
    if "TextToImage" in pipeline and settings.frames > 1:
        raise UserError(
            f"{place}.frames: {pipeline} makes images: expected 1 frame, got {settings.frames}"
        )
    if settings.frames % TEMPORAL != 1:
        low = (settings.frames - 1) // TEMPORAL * TEMPORAL + 1
        raise UserError(
            f"{place}.frames: expected 4k + 1 frames, got {settings.frames}; the nearest are "
            f"{low} and {low + TEMPORAL}"
        )
    if (settings.fps is None) != (settings.frames == 1):
        raise UserError(
            f"{place}.fps: a video needs a frame rate and an image has none; got "
            f"{settings.frames} frames and fps {settings.fps}"
        )
    _check_positions(settings, config, patch, place)


def check_sides(resolution: Sequence[int], units: Sequence[int], place: str) -> None:
    """Refuse sides that are no multiples.

    Args:
        resolution: Height and width in pixels.
        units: Of what height and width must be multiples.
        place: File, line and model entry, for messages.

    Raises:
        UserError: A side is none; names the nearest.
    """
    for name, side, unit in zip(("height", "width"), resolution, units, strict=True):
        if side % unit:
            low = side // unit * unit
            near = f"{low} or {low + unit}" if low else f"{unit}"
            raise UserError(
                f"{place}.resolution: expected a {name} that is a multiple of {unit}, got {side}; "
                f"the nearest are {near}"
            )


def _check_positions(
    settings: DiffusionSettings, config: Mapping[str, Any], patch: list[int], place: str
) -> None:
    """Refuse what lies beyond the position embedding."""
    _, *sizes = latent_shape(settings, config)
    most = config.get("max_size") or [int(config.get("rope_max_seq_len", 1024)) * p for p in patch]
    if any(size > int(limit) for size, limit in zip(sizes, most, strict=True)):
        frames, height, width = (int(m) for m in most)
        raise UserError(
            f"{place}.resolution: {settings.resolution[0]}x{settings.resolution[1]} with "
            f"{settings.frames} frames lies beyond this model's positions: at most "
            f"{height * SPATIAL}x{width * SPATIAL} with {(frames - 1) * TEMPORAL + 1} frames"
        )
