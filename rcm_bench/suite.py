"""What a suite may say: strict models of every key, without any reading or resolving."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from rcm_bench.unrecorded import ELSEWHERE, UNKNOWN, without_sampler

Name = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=1)]
FASTGEN_PRESETS = ("fastgen-wan-1.3b", "fastgen-wan-14b", "fastgen-cosmos")


class Strict(BaseModel):
    """Unknown keys and wrong types are faults; nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _without(data: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k not in defaults or v != defaults[k]}


class ModelEntry(BaseModel):
    """One model; keys beyond these belong to its kind."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    kind: Name = Field(description="What loads the model: a file of rcm_bench/models, or a plug-in")
    role: Literal["teacher", "student"] = Field(
        default="student", description="One model is the teacher that the others are compared with"
    )
    sampler: Name = Field(description="Name of one of the suite's samplers")
    steps: list[Count] | None = Field(
        default=None, min_length=1, description="Steps of this model, in place of the suite's"
    )

    def settings(self) -> dict[str, Any]:
        """Return the keys that belong to the kind."""
        return dict(self.model_extra or {})


class EulerSampler(Strict):
    """Euler's method on the rectified flow, with classifier-free guidance."""

    kind: Literal["euler"]
    guidance: float = Field(default=1.0, ge=0, description="Guidance scale; 1 is no guidance")
    shift: float = Field(default=1.0, gt=0, description="Timestep shift; 1 is uniform")


class HeunSampler(Strict):
    """Heun's method on the rectified flow: two evaluations a step, one in the last."""

    kind: Literal["heun"]
    guidance: float = Field(default=1.0, ge=0, description="Guidance scale; 1 is no guidance")
    shift: float = Field(default=1.0, gt=0, description="Timestep shift; 1 is uniform")


class ConsistencySampler(Strict):
    """The stochastic sampler of consistency models: predict the image, add noise, again."""

    kind: Literal["consistency"]
    sigma_max: float = Field(default=80.0, gt=0, description="Noise over signal at the first step")
    preset: Literal["paper", "repository"] = Field(
        default="paper", description="Published list of the times after the first"
    )
    times: dict[Name, list[float]] | None = Field(
        default=None,
        description="Times after the first in TrigFlow, by number of steps; in place of the preset",
    )


class RcmSampler(Strict):
    """The stochastic sampler of the rCM paper on rectified flows, with its details named."""

    kind: Literal["rcm"]
    sigma_max: float = Field(default=80.0, gt=0, description="Noise over signal at the first step")
    preset: Literal[
        "paper", "repository", "fastgen-wan-1.3b", "fastgen-wan-14b", "fastgen-cosmos"
    ] = Field(
        default="paper",
        description="Published list of the times after the first; NVlabs/FastGen's by model (the "
        "second of two is 0.908 for Wan2.1 1.3B, 0.833 for 14B) begin at 0.999: sigma_max 999, and "
        "need a sample_type",
    )
    times: dict[Name, list[float]] | None = Field(
        default=None,
        description="Times after the first in TrigFlow, by number of steps; in place of the preset",
    )
    sample_type: Literal["sde", "ode"] = Field(
        default="sde",
        description="What is added to a prediction: fresh noise, or the noise that it finds in the "
        "state; the names are NVlabs/FastGen's, whose DMD2 students are sampled by 'ode'",
    )
    timestep_dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="What the network's timestep is rounded to; the published scripts round to "
        "bfloat16, which moves it by up to 2 of 1000",
    )
    start: Literal["scaled", "plain"] = Field(
        default="scaled",
        description="The first state: noise times its time, as in NVlabs/rcm at 5b41aa9, or the "
        "noise itself, as at 20207e5",
    )

    @model_validator(mode="after")
    def _named_by_method(self) -> "RcmSampler":
        """Ask how FastGen's student was distilled: its file does not say, and samples differ."""
        if self.preset in FASTGEN_PRESETS and "sample_type" not in self.model_fields_set:
            raise ValueError(
                f"preset '{self.preset}': expected 'sample_type: ode', as NVlabs/FastGen samples "
                "its DMD2 students, or 'sde', as it samples those of LADD and KD; got neither"
            )
        return self

    @model_serializer(mode="wrap")
    def _keyed(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is as it was before it could be chosen: samples keep their keys."""
        kept = {} if self.preset in FASTGEN_PRESETS else {"sample_type": "sde"}
        return _without(dump(self), **kept)


class MeanflowSampler(Strict):
    """Jumps x <- x - (t - r) u(x, t, r) by mean velocities: for networks told both times."""

    kind: Literal["meanflow"]
    start: float = Field(
        default=0.999,
        gt=0,
        le=1,
        description="Rectified-flow time of the first state; NVlabs/FastGen begins at 0.999",
    )
    shift: float = Field(default=1.0, gt=0, description="Timestep shift; 1 is uniform")
    sample_type: Literal["ode", "sde"] = Field(
        default="ode",
        description="Jump to the next time, or to 0 and add fresh noise; the names are "
        "NVlabs/FastGen's",
    )

    @model_serializer(mode="wrap")
    def _keyed(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is as it was before it could be chosen: samples keep their keys."""
        return _without(dump(self), sample_type="ode")


class UnipcSampler(Strict):
    """UniPC of order 2 on the rectified flow, as Wan2.1 ships it."""

    kind: Literal["unipc"]
    guidance: float = Field(default=1.0, ge=0, description="u + s (c - u); 1 is no guidance")
    shift: float = Field(default=3.0, gt=0, description="Timestep shift; 1 is uniform")


class SchedulerSampler(Strict):
    """The scheduler that a pipeline's folder names, with its own settings."""

    kind: Literal["scheduler"]
    guidance: float = Field(default=1.0, ge=0, description="u + s (c - u); 1 is no guidance")


class ElsewhereSampler(Strict):
    """What sampled a folder of samples: it did not run here, and is what is said of it."""

    kind: Literal["elsewhere"]
    about: Name = Field(
        default=UNKNOWN, description="Sampler and guidance in words, such as 'UniPC, guidance 5'"
    )


SAMPLERS: dict[str, type[Strict]] = {
    "euler": EulerSampler,
    ELSEWHERE: ElsewhereSampler,
    "heun": HeunSampler,
    "consistency": ConsistencySampler,
    "meanflow": MeanflowSampler,
    "rcm": RcmSampler,
    "scheduler": SchedulerSampler,
    "unipc": UnipcSampler,
}


class Prompts(Strict):
    """Which prompts, and how many samples of each."""

    set: Name | None = Field(
        default=None, description="A built-in set: lab, geneval, vbench, vbench_i2v"
    )
    file: Name | None = Field(
        default=None, description="A .txt file (one prompt a line) or .jsonl in GenEval's format"
    )
    per_task: Count | None = Field(default=None, description="Prompts of each task (set: lab)")
    seed: int = Field(default=0, ge=0, description="Which prompts are drawn (set: lab)")
    preset: Name | None = Field(
        default=None, description="Named convention of published numbers (set: vbench)"
    )
    info: Name | None = Field(
        default=None,
        description="VBench_full_info.json, by default that of its environment; for vbench_i2v "
        "vbench2_i2v_full_info.json",
    )
    dimensions: list[Name] | None = Field(
        default=None,
        min_length=1,
        description="Only the prompts that VBench scores for these dimensions (set: vbench)",
    )
    rewritten: Name | None = Field(
        default=None,
        description="What models see of prompt i: line i (file, or set: vbench)",
    )
    samples_per_prompt: Count = Field(
        default=4, description="Seeds for each prompt; 5 by default with 'set: vbench'"
    )

    @model_validator(mode="before")
    @classmethod
    def _official_number(cls, data: Any) -> Any:
        """Take VBench's own number of videos where none is given."""
        if isinstance(data, dict) and data.get("set") in ("vbench", "vbench_i2v"):
            return {"samples_per_prompt": 5, **data}
        return data


class Protocol(Strict):
    """Conventions that change scores and are named rather than configured."""

    name: Name = Field(default="lab", description="Name of the convention, for readers")
    seeds: Literal["rcm-bench-1"] = Field(default="rcm-bench-1", description="Recipe of the seeds")
    rewriting: Literal["none"] = Field(default="none", description="Rewriting of prompts")
    population: Literal["new prompts", "same prompts"] = Field(
        default="new prompts",
        description="What intervals speak of: new prompts of the same kind with new seeds "
        "(generalisation), or the same prompts with new seeds (reproduction)",
    )


class Run(Strict):
    """How the work is done."""

    batch_size: Count = Field(default=32, description="Samples in a planned batch")
    failures: Literal["exclude_and_flag", "score_zero", "stop"] = Field(
        default="exclude_and_flag",
        description="What a failed sample counts as; 'stop' ends the run at the first one",
    )
    retries: int = Field(default=1, ge=0, description="How often what failed is tried again")


class Gate(Strict):
    """Non-inferiority: how much worse than its teacher, or than a baseline, a student may be."""

    margin: float = Field(
        gt=0, allow_inf_nan=False, description="Largest loss that is accepted, in the metric's unit"
    )
    models: list[Name] | None = Field(
        default=None, min_length=1, description="Models that must pass; all students by default"
    )
    steps: list[Count] | None = Field(
        default=None, min_length=1, description="Steps at which they must; all by default"
    )


class PublishedEntry(Strict):
    """Published numbers to be shown beside the run's own; each key narrows the choice."""

    benchmark: Name = Field(description="Benchmark of the numbers; one of the suite's")
    model: Name | None = Field(default=None, description="Model, such as Cosmos-Predict2")
    method: Name | None = Field(default=None, description="Method, such as rCM; or teacher")
    params: Name | None = Field(default=None, description="Size, such as 2B")
    source: Name | None = Field(default=None, description="Where they are printed")
    steps: list[Count] | None = Field(default=None, min_length=1, description="Numbers of steps")


class Suite(Strict):
    """A suite: models by samplers by steps by prompts, and what is measured on them."""

    @model_validator(mode="before")
    @classmethod
    def _made_elsewhere(cls, data: Any) -> Any:
        """Let models that are not sampled here name no sampler."""
        return without_sampler(data)

    suite: Name = Field(description="Name of the suite")
    version: Count = Field(default=1, description="Version of the suite")
    about: str = Field(default="", description="What the suite answers")
    extends: Name | None = Field(default=None, description="Suite whose keys this one overrides")
    variables: dict[Name, str | int | float | bool | None | dict[str, Any]] = Field(
        default_factory=dict,
        description="Names for ${NAME}, with a default, or null where the environment must give it",
    )
    models: dict[Name, ModelEntry] = Field(min_length=1, description="The models, by name")
    samplers: dict[Name, dict[str, Any]] = Field(min_length=1, description="The samplers, by name")
    steps: list[Count] = Field(min_length=1, description="The grid of step counts")
    prompts: Prompts
    benchmarks: dict[Name, dict[str, Any] | None] = Field(
        min_length=1, description="What is measured, by name, with settings"
    )
    protocol: Protocol = Field(default_factory=Protocol)
    run: Run = Field(default_factory=Run)
    gates: dict[Name, Gate] = Field(
        default_factory=dict,
        description="What 'gate' asks of a run, by benchmark.metric, such as geneval.overall",
    )
    published: list[PublishedEntry] = Field(
        default_factory=list,
        description="Published numbers beside the run's own, visibly as such; never in a test",
    )
    reuse: list[Name] = Field(
        default_factory=list, description="Folders of other runs to take equal samples from"
    )
