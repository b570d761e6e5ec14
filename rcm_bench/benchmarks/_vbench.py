"""What VBench of text to video and VBench-I2V share: their metrics in words, and their scorers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    from rcm_bench.types import Scorer
    from rcm_bench.vbench.jobs import Kind

ABOUT: Mapping[str, str] = {
    "subject_consistency": "DINO similarity of frames to the first and the one before.",
    "background_consistency": "CLIP similarity of frames to the first and the one before.",
    "temporal_flickering": "Likeness of neighbouring frames in static videos.",
    "motion_smoothness": "Likeness of frames to those interpolated from their neighbours.",
    "dynamic_degree": "Share of videos that move.",
    "aesthetic_quality": "LAION aesthetic score of frames.",
    "imaging_quality": "MUSIQ score of frames.",
    "object_class": "Share of frames that show the object.",
    "multiple_objects": "Share of frames that show both objects.",
    "human_action": "Share of videos that show the action.",
    "color": "Share of frames with the object in its colour; videos without it are left out.",
    "spatial_relationship": "Whether two objects stand along the axis that the prompt says.",
    "scene": "Share of frames whose caption names the scene.",
    "appearance_style": "CLIP similarity of frames to the style's name.",
    "temporal_style": "ViCLIP similarity of video and prompt, for camera and time.",
    "overall_consistency": "ViCLIP similarity of video and prompt.",
    "i2v_subject": "DINO similarity of frames to the given image and to each other.",
    "i2v_background": "DreamSim similarity of frames to the given image and to each other.",
    "camera_motion": "Share of videos whose camera moves as the prompt says.",
}
_PROPORTIONS = (
    *("dynamic_degree", "object_class", "multiple_objects", "human_action", "color", "scene"),
    "camera_motion",
)
ONLY_PACKAGE = (
    *("motion_smoothness", "object_class", "multiple_objects", "human_action", "color"),
    *("spatial_relationship", "scene", "temporal_style", "overall_consistency"),
    *("i2v_subject", "i2v_background", "camera_motion"),
)
_VERIFIED: Mapping[str, str] = {}
"""Delegated dimensions whose real weights have run here, each with its report."""


def infos(
    totals: Mapping[str, tuple[str, str]], dimensions: Sequence[str], own: Mapping[str, str]
) -> dict[str, MetricInfo]:
    """Return what a report says of each total and dimension.

    Args:
        totals: Title and meaning of each total.
        dimensions: Names of the dimensions.
        own: Meanings that differ from ``ABOUT``.
    """
    found = {
        name: MetricInfo(
            title=title,
            unit="VBench score",
            higher_is_better=True,
            about=about,
            headline=name == "total",
        )
        for name, (title, about) in totals.items()
    }
    for name in dimensions:
        found[name] = MetricInfo(
            title=name.replace("_", " ").capitalize().replace("I2v", "I2V"),
            unit="share" if name in _PROPORTIONS else "raw score",
            higher_is_better=True,
            about=own.get(name, ABOUT[name]) + _note(name),
            # A nearly static video scores high: the Total is never shown without it.
            headline=name == "dynamic_degree",
        )
    return found


def _note(dimension: str) -> str:
    """Say of a delegated dimension that nobody has run it here with its real weights."""
    only = dimension in ONLY_PACKAGE and dimension not in _VERIFIED
    return " By the package vbench; unverified: no real weights have run here." if only else ""


def make_scorers(
    asked: Sequence[str],
    delegated: Sequence[str],
    *,
    kind: "Kind",
    weights: Mapping[str, str],
    device: str,
    hours: float,
    aspect: str | None = None,
) -> "list[Scorer]":
    """Return one scorer for all native dimensions and one for each delegated one.

    Args:
        asked: All dimensions.
        delegated: Those of the package.
        kind: The package's mode, or ``"i2v"``.
        weights: SHA-256 of weight files.
        device: Torch device.
        hours: Time limit of a delegated dimension.
        aspect: Aspect ratio of VBench-I2V's images.
    """
    from rcm_bench.scorers.vbench_delegated import Scorer as Delegated
    from rcm_bench.scorers.vbench_native import Scorer as Native

    native = tuple(name for name in asked if name not in delegated)
    made: list[Scorer] = []
    if native:
        made.append(Native(dimensions=native, weights=weights, device=device, mode=kind))
    for name in delegated:
        own = Delegated(
            dimension=name, mode=kind, device=device, hours=hours, weights=weights, aspect=aspect
        )
        made.append(own)
    return made


def check_weights_names(weights: Mapping[str, str], dimensions: Sequence[str], where: str) -> None:
    """Refuse a digest of a file that no dimension reads.

    Raises:
        UserError: Names the file, and the nearest that there is.
    """
    from rcm_bench.errors import unknown_name
    from rcm_bench.vbench.dimensions import WEIGHTS

    known = [path for name in dimensions for path in WEIGHTS[name]]
    for path in weights:
        if path not in known:
            raise unknown_name(f"{where}.weights", "file", path, known)
