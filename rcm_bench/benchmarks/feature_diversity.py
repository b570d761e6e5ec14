"""Diversity in features: how samples of a prompt differ, and what a student reaches of its teacher.

On the very samples that are scored for quality. Long prompts suppress diversity: a suite of short
prompts measures another number, and belongs in a run of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import ConfigDict, Field

from rcm_bench.errors import UserError, check_all
from rcm_bench.features import FeatureSettings
from rcm_bench.features.clip import Settings as ClipSettings
from rcm_bench.features.dino import Settings as DinoSettings
from rcm_bench.features.lpips import Settings as LpipsSettings
from rcm_bench.features.pixels import Settings as PixelSettings
from rcm_bench.types import MetricInfo

if TYPE_CHECKING:
    import pandas as pd

    from rcm_bench.measured import Failures, Measured
    from rcm_bench.scorers.features import Scorer
    from rcm_bench.types import PromptRecord

KINDS = ("dino", "clip", "lpips", "pixels")
_TITLES = {"dino": "DINO", "clip": "CLIP", "lpips": "LPIPS", "pixels": "pixel"}
_BETWEEN = {
    "coverage": (
        "share",
        "Share of the teacher's samples whose nearest sample of this model lies within their k-th "
        "neighbour; a perfect student of equal size has 0.97 for k = 5",
    ),
    "recall": ("share", "Share of the teacher's samples within a neighbourhood of this model's"),
    "precision": ("share", "Share of this model's samples within a neighbourhood of the teacher's"),
    "density": ("ratio", "Neighbourhoods of the teacher's around a sample of this model, over k"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """Pairwise distance and Vendi score by prompt, PRDC against the teacher.

    Args:
        dino: DINOv2 or DINOv3.
        clip: CLIP's image features.
        lpips: LPIPS.
        pixels: Small pixels: needs no weights, says little.
        frames: Frames of a video that are read, uniformly spaced.
        nearest: Neighbours k of precision, recall, density and coverage.
    """

    dino: DinoSettings | None = None
    clip: ClipSettings | None = None
    lpips: LpipsSettings | None = None
    pixels: PixelSettings | None = None
    frames: Annotated[int, Field(ge=1)] = 8
    nearest: Annotated[int, Field(ge=1)] = 5

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: ClassVar[str] = "feature_diversity"

    def kinds(self) -> dict[str, FeatureSettings]:
        """Return the features that the suite asks for, by name."""
        return {kind: found for kind in KINDS if (found := getattr(self, kind)) is not None}

    @property
    def metrics(self) -> Mapping[str, MetricInfo]:
        """The metrics of the features that the suite asks for; the first stands for all."""
        return {
            name: info
            for place, (kind, settings) in enumerate(self.kinds().items())
            for name, info in _metrics(kind, settings, headline=place == 0)
        }

    def scorer(self) -> "Scorer | None":
        """Return the scorer of the first kind of features."""
        return next(iter(self.scorers()), None)

    def scorers(self) -> "list[Scorer]":
        """Return one scorer for each kind of features."""
        from rcm_bench.scorers.features import Scorer

        return [
            Scorer(kind=kind, features=settings, frames=self.frames)
            for kind, settings in self.kinds().items()
        ]

    def check_prompts(self, prompts: "Sequence[PromptRecord]", where: str) -> None:
        """Refuse a suite without features, or weights that are not there.

        Args:
            prompts: Unused: samples of any prompt can be compared.
            where: File, line and key of the benchmark.

        Raises:
            UserError: What is missing.
        """
        if not self.kinds():
            raise UserError(f"{where}: expected features to compare by: {', '.join(KINDS)}")
        check_all([partial(scorer.check, where) for scorer in self.scorers()])

    def measure(
        self,
        samples: "pd.DataFrame",
        scores: "pd.DataFrame",
        *,
        failures: "Failures" = "exclude_and_flag",
    ) -> "dict[str, Measured]":
        """Compare the samples of each prompt with each other, and each cell with the reference.

        Args:
            samples: The samples table; ``is_reference`` marks the teacher's.
            scores: The scores table; the details of each kind's metric name the files of features.
            failures: Has no meaning here: a sample that is not there has no distance.
        """
        from rcm_bench import feature_measures as measures

        found: dict[str, Measured] = {}
        for kind, settings in self.kinds().items():
            table = measures.with_features(samples, scores, kind)
            found[f"{kind}_pairwise"] = measures.pairwise(table, settings.distance)
            if settings.distance == "cosine":
                found[f"{kind}_vendi"] = measures.vendi_scores(table)
            for name, measured in measures.between_sets(table, self.nearest).items():
                found[f"{kind}_{name}"] = measured
        return found


def _metrics(
    kind: str, settings: FeatureSettings, *, headline: bool
) -> Iterator[tuple[str, MetricInfo]]:
    title, cosine = _TITLES[kind], settings.distance == "cosine"
    how = "1 - cosine" if cosine else "distance"
    yield (
        f"{kind}_pairwise",
        MetricInfo(
            title=f"{title} diversity",
            unit="distance",
            higher_is_better=True,
            about=f"Mean {how} of two samples of one prompt; noise is diverse too, so read it "
            "beside quality.",
            headline=headline,
        ),
    )
    if cosine:
        yield (
            f"{kind}_vendi",
            MetricInfo(
                title=f"{title} Vendi score",
                unit="samples",
                higher_is_better=True,
                about="Effective number of different samples of a prompt, from 1 to their number.",
            ),
        )
    for name, (unit, about) in _BETWEEN.items():
        info = MetricInfo(
            title=f"{title} {name}", unit=unit, higher_is_better=True, about=f"{about}."
        )
        yield f"{kind}_{name}", info
