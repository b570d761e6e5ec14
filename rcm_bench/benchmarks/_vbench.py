"""What VBench of text to video and VBench-I2V share: metrics in words, scorers, files, sums."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rcm_bench.types import MetricInfo
from rcm_bench.vbench import SHARES

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from rcm_bench.bring.scored import ScoredElsewhere
    from rcm_bench.measured import Failures, Measured
    from rcm_bench.tables import RunTables
    from rcm_bench.types import PromptRecord, Scorer
    from rcm_bench.vbench.jobs import Kind
    from rcm_bench.vbench.measures import Mode

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
            unit="share" if name in SHARES else "raw score",
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


class VideoBenchmark:
    """What a benchmark of VBench's dimensions does, whichever edition; fields are its own."""

    __slots__ = ()
    name: ClassVar[str]
    every: ClassVar[tuple[str, ...]]
    """All dimensions, in VBench's order."""
    if TYPE_CHECKING:
        device: str
        hours: float
        weights: dict[str, str]
        results: "ScoredElsewhere | None"

        @property
        def dimensions(self) -> tuple[str, ...] | None:
            """What is scored; None for all."""

        @property
        def delegated(self) -> tuple[str, ...]:
            """What the package computes beside what only it can."""

        def kind(self) -> "Kind":
            """Return the package's mode, or ``"i2v"``."""

        def of_images(self) -> dict[str, Any]:
            """Return what delegated scorers are told of images that videos begin from."""

    def asked(self) -> tuple[str, ...]:
        """Return the dimensions to be scored, in VBench's order."""
        chosen = self.every if self.dimensions is None else self.dimensions
        return tuple(name for name in self.every if name in chosen)

    def delegates(self) -> tuple[str, ...]:
        """Return those that the package computes."""
        if self.results is not None:
            return ()
        return tuple(n for n in self.asked() if n in ONLY_PACKAGE or n in self.delegated)

    def takes_results(self) -> tuple[str, ...] | None:
        """Return what is wanted of scores that were made elsewhere; None where none are taken."""
        return self.asked() if self.results is not None else None

    def check_available(self, where: str) -> None:
        """Refuse weights and dimensions that are not there.

        Args:
            where: File and key of the benchmark, for messages.

        Raises:
            UserError: A file's digest is of no file here, or the package cannot compute something.
        """
        from rcm_bench.errors import check_all, unknown_name
        from rcm_bench.vbench.dimensions import WEIGHTS
        from rcm_bench.vbench.run import check_available

        known = [path for name in self.every for path in WEIGHTS[name]]
        for path in self.weights:
            if path not in known:
                raise unknown_name(f"{where}.weights", "file", path, known)
        # The native scorer holds its weights to their digests.
        own = [getattr(scorer, "check", lambda: None) for scorer in self.scorers()]
        check_all([*(partial(check_available, name) for name in self.delegates()), *own])

    def scorer(self) -> "Scorer | None":
        """Return the first of the scorers."""
        made = self.scorers()
        return made[0] if made else None

    def scorers(self) -> "list[Scorer]":
        """Return one for all native dimensions and one for each delegated one, or for results."""
        if self.results is not None:
            from rcm_bench.scorers.results import Scorer as Results

            return [Results(layout=self.name, about=self.results, metrics=self.asked())]
        from rcm_bench.scorers.vbench_delegated import Scorer as Delegated
        from rcm_bench.scorers.vbench_native import Scorer as Native

        delegated, kind = self.delegates(), self.kind()
        native = tuple(name for name in self.asked() if name not in delegated)
        shared: dict[str, Any] = {"mode": kind, "device": self.device, "weights": self.weights}
        images = self.of_images()
        made: list[Scorer] = [Native(dimensions=native, **shared)] if native else []
        for name in delegated:
            made.append(Delegated(dimension=name, hours=self.hours, **images, **shared))
        return made

    def export(self, tables: "RunTables", prompts: "Sequence[PromptRecord]", out: "Path") -> None:
        """Write VBench's own result files of each cell, and the archive for its leaderboard.

        Args:
            tables: Samples and scores of the run.
            prompts: Its prompts.
            out: Folder of the run's tables.
        """
        from rcm_bench.vbench.editions import EDITIONS
        from rcm_bench.vbench.export import write_cells

        if self.kind() != "custom_input":
            own = EDITIONS[self.name]
            write_cells(tables.samples, tables.scores, prompts, own, self.asked(), self.name, out)

    def measure(
        self,
        samples: "pd.DataFrame",
        scores: "pd.DataFrame",
        *,
        failures: "Failures" = "exclude_and_flag",
    ) -> "dict[str, Measured]":
        """Sum every dimension per prompt, and the totals of them.

        Args:
            samples: The samples table.
            scores: The scores table.
            failures: Has no meaning here: what is missing is never zero, and takes the Total along.
        """
        from rcm_bench.vbench.editions import EDITIONS
        from rcm_bench.vbench.measures import measure

        mode: Mode = "custom_input" if self.kind() == "custom_input" else "vbench_standard"
        return measure(samples, scores, self.asked(), mode=mode, edition=EDITIONS[self.name])
