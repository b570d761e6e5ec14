"""What a baseline file may hold: strict models, because nothing in it is trusted."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from rcm_bench.suite import Strict

Whole = Annotated[int, Field(ge=0)]
Number = Annotated[FiniteFloat, Field(ge=0)]
Signed = list[FiniteFloat] | FiniteFloat
Numbers = list[Number] | Number
Unknowns = list[Number | None] | Number | None
Places = list[Whole] | Whole


class CellEntry(Strict):
    """What there is of one configuration."""

    model: str
    sampler: str
    steps: Annotated[int, Field(ge=1)]
    samples: str
    planned: Whole
    unsampled: Whole
    unscored: dict[str, Whole]


class PlacesEntry(Strict):
    """Prompt, stratum and component of each row, by number."""

    prompt: Places
    stratum: Places
    component: Places


class RowsEntry(Strict):
    """Sums of one configuration; ``places`` says which of the metric's layouts they have."""

    cell: Whole
    places: Whole
    numerator: Signed
    denominator: Numbers
    within: Unknowns
    n_samples: Numbers
    n_missing: Numbers


class InfoEntry(Strict):
    """How a metric is called."""

    title: str
    unit: str
    higher_is_better: bool
    about: str
    headline: bool


class MetricEntry(Strict):
    """One metric of every configuration."""

    name: str
    info: InfoEntry
    kind: Literal["proportion", "mean", "exact"]
    ratio: bool
    components: Annotated[list[str], Field(min_length=1)]
    strata: list[str]
    places: list[PlacesEntry]
    rows: list[RowsEntry]


class ModelEntry(Strict):
    """Role, sampler and identity of a model."""

    role: str
    sampler: dict[str, Any]
    identity: dict[str, Any]


class ReferenceEntry(Strict):
    """The teacher at its largest number of steps."""

    model: str
    steps: int


class PromptsEntry(BaseModel):
    """The prompt set; further keys are kept as they are."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    samples_per_prompt: Annotated[int, Field(ge=1)]


class ProtocolEntry(BaseModel):
    """Everything that can change a score; further parts are kept as they are."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    prompts: PromptsEntry
    scorers: dict[str, dict[str, Any]]
    benchmarks: dict[str, dict[str, Any]]


class BaselineFile(Strict):
    """The file, without format, version and digest."""

    suite: str
    protocol: ProtocolEntry
    models: dict[str, ModelEntry]
    circumstances: dict[str, Any]
    reference: ReferenceEntry
    prompts: dict[str, str]
    cells: list[CellEntry]
    metrics: list[MetricEntry]
