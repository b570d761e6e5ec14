"""The words of the harness as types: prompts, work items, samples, scores, and what produces them.

Nothing here imports a heavy package when it runs; every part of the harness may import this file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptRecord:
    """One prompt of a prompt set.

    Args:
        prompt_id: Name inside a run, made of an index and a digest, never of the text.
        text: The prompt as given; it may hold anything.
        task: Stratum, such as GenEval's ``"two_object"``; ``"prompt"`` where there is none.
        metadata: What a benchmark knows of it, such as GenEval's ``include`` and ``exclude``.
    """

    prompt_id: str
    text: str
    task: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkItem:
    """One sample that the plan asks for: (model, sampler, steps, prompt, seed).

    Args:
        item_id: What the suite declares, as a short digest; the same in every invocation of a run.
        sample_key: SHA-256 of all that decides the sample; None until the weights are resolved.
        model: Name of the model in the suite.
        sampler: Name of the sampler in the suite.
        steps: Number of sampling steps.
        prompt_id: Name of the prompt inside the run.
        prompt: The prompt as given.
        prompt_rewritten: What the model sees; ``prompt`` itself unless a protocol rewrites it.
        seed_index: Which of the samples per prompt this is, from 0.
        seed: Seed of the one random generator of this sample; ``NO_SEED`` where it was made
            elsewhere.
        batch_id: The planned batch that the item belongs to.
    """

    item_id: str
    sample_key: str | None
    model: str
    sampler: str
    steps: int
    prompt_id: str
    prompt: str
    prompt_rewritten: str
    seed_index: int
    seed: int
    batch_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """One generated image or video.

    Args:
        array: uint8 of shape (H, W, 3), or (T, H, W, 3) for a video.
        nfe: Network evaluations that this sample took, exact; guidance counts twice.
        seconds: Time of each part of the generation, shared equally over the batch.
        fps: Frames per second of a video; None for an image.
        finite: False when the model gave values that are not finite (they are drawn as black).
        made: How it was made beyond what the plan says, such as a smaller batch; recorded.
    """

    array: "NDArray[np.uint8]"
    nfe: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    fps: float | None = None
    finite: bool = True
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """A sample that was made elsewhere; its file is stored byte for byte.

    Args:
        data: The file.
        flags: What is degenerate about it.
    """

    data: bytes
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRef:
    """A stored sample as scorers see it.

    Args:
        sample_key: Key of the sample in the store.
        item_id: The work item that it fulfils.
        digest: SHA-256 of the stored file.
        path: Where the stored file lies.
        prompt: The prompt as given.
        task: Stratum of the prompt.
        metadata: What the prompt set knows about the prompt.
        seed_index: Which of the samples of its prompt it is, from 0.
    """

    sample_key: str
    item_id: str
    digest: str
    path: Path
    prompt: str
    task: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    seed_index: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What one scorer says about one sample.

    Args:
        sample_digest: SHA-256 of the file that was scored.
        scorer: Name of the scorer.
        version: Version of the scorer; part of the key of the score.
        metric: Which of the scorer's values this is.
        value: The value, or None where the sample could not be scored; never NaN.
        reason: Why there is no value, or a short explanation of it.
        details: What a reader wants to see beside the sample, such as boxes; plain JSON values.
        features: (D,) vector that measures compare samples by; stored as a file of its own, whose
            name ``details`` then hold as ``features``.
        real_features: File of the features of a set that the sample is also compared with
            (`feature_files.encode_set`); stored once, and named in ``details`` likewise.
    """

    sample_digest: str
    scorer: str
    version: str
    metric: str
    value: float | None
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    features: "NDArray[np.float32] | None" = None
    real_features: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricInfo:
    """How a metric is called, and which way is better.

    Args:
        title: Name for people, such as ``"Position"``.
        unit: Unit of the value, such as ``"accuracy"`` or ``"dB"``.
        higher_is_better: Direction of the metric.
        about: One sentence on what it measures.
        headline: True for the metric that stands for its benchmark.
    """

    title: str
    unit: str
    higher_is_better: bool
    about: str
    headline: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The cell that all others are compared with: the teacher at its full number of steps."""

    model: str
    steps: int


class Detection(NamedTuple):
    """One object that a detector found.

    Attributes:
        name: Class of the object.
        score: Confidence in [0, 1].
        box: ``(x0, y0, x1, y1)`` in pixels, the last two exclusive.
        mask: Boolean mask of shape (H, W), or None.
    """

    name: str
    score: float
    box: tuple[float, float, float, float]
    mask: "NDArray[np.bool_] | None" = None


class Detector(Protocol):
    """Finds objects in a batch of images of shape (B, H, W, 3), uint8."""

    def __call__(self, images: "NDArray[np.uint8]") -> list[list[Detection]]:
        """Return the detections of each image."""
        ...


class ColourClassifier(Protocol):
    """Names the colour of each detection in one image of shape (H, W, 3), uint8."""

    def __call__(
        self,
        image: "NDArray[np.uint8]",
        detections: Sequence[Detection],
        colours: Sequence[str],
    ) -> list[str]:
        """Return one of ``colours`` for each detection."""
        ...


class Scorer(Protocol):
    """Turns stored samples into scores; name, version and settings are part of a score's key."""

    @property
    def name(self) -> str:
        """Name of the scorer."""
        ...

    @property
    def version(self) -> str:
        """Version; changes whenever the same sample could get another score."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return all else that can change a score, digests of weights too, as JSON values."""
        ...

    def __call__(self, samples: Sequence[SampleRef]) -> Iterator[Score]:
        """Score a batch of samples; every sample gets at least one score."""
        ...


@runtime_checkable
class CellScorer(Protocol):
    """A scorer that takes all samples of a cell at once: a program that needs minutes to start.

    Where it fails, all of them are unscored with its reason; it is never asked for single ones.
    """

    @property
    def name(self) -> str:
        """Name of the scorer."""
        ...

    @property
    def version(self) -> str:
        """Version; changes whenever the same sample could get another score."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return all else that can change a score."""
        ...

    def applies(self, prompt: PromptRecord) -> bool:
        """Say whether samples of a prompt are to be scored; others get no score and lack none."""
        ...

    def at(self, folder: Path) -> Scorer:
        """Return the scorer with the run folder, where it may keep results and logs."""
        ...

    def __call__(self, samples: Sequence[SampleRef]) -> Iterator[Score]:
        """Score the samples of one cell."""
        ...


class Benchmark(Protocol):
    """A file of ``rcm_bench/benchmarks``: class ``Benchmark`` made from the suite's mapping."""

    @property
    def name(self) -> str:
        """Name of the benchmark, equal to the stem of its file."""
        ...

    @property
    def metrics(self) -> Mapping[str, MetricInfo]:
        """The metrics that the benchmark reports."""
        ...

    def scorer(self) -> Scorer:
        """Return the scorer; equal (name, version, settings) are run once per sample."""
        ...


class Cost(NamedTuple):
    """Rough figures for ``plan``; nothing that is measured depends on them.

    Attributes:
        seconds_per_evaluation: Time of one network evaluation of one sample.
        bytes_per_sample: Size of a stored sample.
        machine: The machine that the time is meant for.
    """

    seconds_per_evaluation: float
    bytes_per_sample: float
    machine: str = "on two CPU cores"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelContext:
    """What a model may know of the suite that names it.

    Args:
        place: File, line and key of the model, for messages.
        folder: Folder of the suite; relative paths start there.
        pickles: SHA-256 of the pickles that the command line allows to be read.
    """

    place: str
    folder: Path
    pickles: frozenset[str] = frozenset()


class Model(Protocol):
    """Something that generates.

    A file of ``rcm_bench/models`` has a class ``Model``, made by ``Model(settings, sampler,
    context)`` from its own ``Model.Settings`` and a sampler of the suite. Making it is cheap and
    finds what is wrong with its files; ``load`` reads the weights.
    """

    def digest(self) -> str:
        """Return the SHA-256 of the weights."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return all of the model that decides a sample: weights, architecture, size, dtype."""
        ...

    def card(self) -> dict[str, Any]:
        """Return the model card: recipe, commit, seed, hardware, scores; empty if there is none."""
        ...

    def evaluations(self, steps: int) -> int:
        """Return the network evaluations that one sample takes here; 0 if it was made elsewhere."""
        ...

    def cost(self) -> Cost:
        """Return rough costs for the plan."""
        ...

    def check(self, prompts: Sequence[PromptRecord], steps: Sequence[int]) -> None:
        """Raise UserError for a prompt that it cannot draw, or a step count that it cannot take."""
        ...

    def load(self, device: str) -> None:
        """Read the weights onto a device; raise UserError if they do not fit."""
        ...

    def generate(self, items: Sequence[WorkItem]) -> Iterator[Media | Brought]:
        """Generate one planned batch in order; its items share sampler and number of steps."""
        ...
