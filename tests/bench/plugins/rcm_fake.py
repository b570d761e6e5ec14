"""A model and a benchmark from outside: tiny, deterministic, and able to fail on purpose."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rcm_bench.errors import UserError
from rcm_bench.media import decode
from rcm_bench.suite import Strict
from rcm_bench.types import Cost, Media, MetricInfo, Score

SIDE = 8


class Settings(Strict):
    level: float = 1.0
    fail_on: str | None = None
    blank: bool = False


class Model:
    Settings = Settings

    def __init__(self, settings, sampler, context):
        self.settings, self.sampler, self.context = settings, sampler, context
        self.calls = []

    def digest(self):
        return hashlib.sha256(repr(self.settings.level).encode()).hexdigest()

    def identity(self):
        return {"kind": "fake", "weights": self.digest(), "resolution": [SIDE, SIDE]}

    def card(self):
        return {}

    def evaluations(self, steps):
        return steps

    def cost(self):
        return Cost(seconds_per_evaluation=1e-4, bytes_per_sample=300)

    def check(self, prompts, steps):
        for prompt in prompts:
            if "forbidden" in prompt.text:
                raise UserError(f"{self.context.place}: cannot draw prompt {prompt.prompt_id}")

    def load(self, device):
        pass

    def generate(self, items):
        self.calls.append([item.item_id for item in items])
        for item in items:
            if self.settings.fail_on and self.settings.fail_on in item.prompt:
                raise RuntimeError(f"cannot draw {item.prompt}")
        # The batch size leaves its mark, as rounding does in a real network.
        mark = len(items) % 3
        for item in items:
            rng = np.random.default_rng([item.seed, item.steps])
            array = rng.integers(0, 200, (SIDE, SIDE, 3)) * self.settings.level + mark
            array = np.zeros_like(array) if self.settings.blank else array
            yield Media(array=array.astype(np.uint8), nfe=item.steps, seconds={"sample": 1e-4})


class Scorer:
    name = "brightness"
    version = "1"

    def settings(self):
        return {}

    def __call__(self, samples):
        for ref in samples:
            if "unscorable" in ref.prompt:
                raise ValueError("no eyes for this")
            # As in a real scorer, the company leaves its mark in the last digits.
            value = float(decode(ref.path).mean() / 255) * (1 + 1e-9 * len(samples))
            yield Score(
                sample_digest=ref.digest,
                scorer=self.name,
                version=self.version,
                metric="mean",
                value=value,
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    name: ClassVar[str] = "brightness"
    metrics: ClassVar[dict[str, MetricInfo]] = {
        "mean": MetricInfo(
            title="Brightness",
            unit="share",
            higher_is_better=True,
            about="Mean of all pixels.",
            headline=True,
        )
    }

    def scorer(self):
        return Scorer()

    def measure(self, samples, scores, *, failures="exclude_and_flag"):
        from rcm_bench.measured import Measured, per_prompt, scored

        return {"mean": Measured(rows=per_prompt(scored(samples, scores, "mean")))}
