"""Dose and response: what the laboratory's tables say of renderers with a known fault.

Every number goes through the code of a run: the scorer, the benchmarks, ``rcm_bench.aggregate``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from rcm_bench.aggregate import ALPHA, aggregate
from rcm_bench.instrument.doses import NONE, Dose, Images, damage_of, draw_images, expected
from rcm_bench.statistics_coverage.real import BENCHMARKS, Experiment, compared, outcomes, summary
from rcm_bench.types import Reference, SampleRef

if TYPE_CHECKING:
    from rcm_distill.lab.grammar import Prompt

SEED = 20_261_124
SAMPLES = 4
STEPS = 1
REFERENCE = "none 0"
_AGAIN = 100_000
"""Seeds of renderers with a fault begin here, those without one below."""


class Tables(NamedTuple):
    """The samples and the scores of one renderer, as a run has them."""

    samples: pd.DataFrame
    scores: pd.DataFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """How one metric answers to one dose; means over the repetitions.

    Args:
        kind: Name of the fault.
        dose: How much of it.
        metric: Benchmark and metric.
        expected: What it should be, NaN where that is not known without the oracle.
        value: What it is.
        reference: What it is of the renderer without a fault, on other seeds.
        difference: Value minus reference.
        half_width: Half the width of the difference's 95 % interval in one repetition.
        found: Repetitions whose single test found the difference (p <= 5 %).
        repetitions: How many there were.
    """

    kind: str
    dose: float
    metric: str
    expected: float
    value: float
    reference: float
    difference: float
    half_width: float
    found: int
    repetitions: int


def scored(
    model: str, images: Images, prompts: "Sequence[Prompt]", samples: int, first_seed: int = 0
) -> Tables:
    """Score images (P N, S, S, 3) as a run would.

    Args:
        model: Name of the renderer.
        images: What it drew.
        prompts: P prompts.
        samples: N.
        first_seed: Index of each prompt's first sample.
    """
    from rcm_bench.scorers.lab import BATCH, Scorer

    rows = [
        {
            "item_id": f"{model}|{place}|{first_seed + seed}",
            "model": model,
            "sampler": "renderer",
            "steps": STEPS,
            "prompt_id": f"p{place:04d}",
            "prompt": prompt.text,
            "task": prompt.task,
            "seed_index": first_seed + seed,
        }
        for place, prompt in enumerate(prompts)
        for seed in range(samples)
    ]
    refs = [
        SampleRef(
            sample_key="",
            item_id=str(row["item_id"]),
            digest=str(row["item_id"]),
            path=Path(),
            prompt=str(row["prompt"]),
            task=str(row["task"]),
        )
        for row in rows
    ]
    found = []
    for start in range(0, len(refs), BATCH):
        part = slice(start, start + BATCH)
        found += list(Scorer().score_images(refs[part], list(images[part])))
    scores = [
        {
            "item_id": score.sample_digest,
            "metric": score.metric,
            "value": np.nan if score.value is None else score.value,
            "reason": score.reason,
            "details": json.dumps(dict(score.details)),
        }
        for score in found
    ]
    return Tables(pd.DataFrame(rows), pd.DataFrame(scores))


def paired(tables: Sequence[Tables]) -> pd.DataFrame:
    """Compare every renderer with the one without a fault, by the code of a run."""
    samples = pd.concat([each.samples for each in tables], ignore_index=True)
    scores = pd.concat([each.scores for each in tables], ignore_index=True)
    reference = Reference(model=REFERENCE, steps=STEPS)
    return aggregate(samples, scores, BENCHMARKS, reference, "").paired


def respond(
    prompts: "Sequence[Prompt]", doses: Sequence[Dose], repetitions: int, seed: int = SEED
) -> list[Row]:
    """Draw, score and compare every dose, in repetitions that share the prompts and no image.

    Args:
        prompts: P prompts.
        doses: The faults.
        repetitions: How often.
        seed: Where all samples come from.
    """
    found = []
    damages: dict[Dose, list[tuple[float, float]]] = {dose: [] for dose in doses}
    for turn in range(repetitions):
        clean = draw_images(prompts, SAMPLES, NONE, seed + turn)
        tables = [scored(REFERENCE, clean, prompts, SAMPLES)]
        for place, dose in enumerate(doses):
            own = seed + _AGAIN * (turn + 1) + place
            images = draw_images(prompts, SAMPLES, dose, own)
            tables.append(scored(str(dose), images, prompts, SAMPLES))
            if dose.kind in ("blur", "noise"):
                damages[dose].append(damage_of(prompts, SAMPLES, dose, own))
        found.append(paired(tables))
    whole = pd.concat(found, ignore_index=True)
    whole["metric"] = whole["benchmark"] + "." + whole["metric"]
    rows = []
    for dose in doses:
        damaged = np.mean(damages[dose], axis=0) if damages[dose] else (np.nan, np.nan)
        own_rows = whole[whole["model"] == str(dose)]
        for metric, each in own_rows.groupby("metric", sort=False):
            rows.append(_row(dose, str(metric), each, tuple(damaged)))
    return rows


def _row(dose: Dose, metric: str, each: pd.DataFrame, damaged: Sequence[float]) -> Row:
    known = expected(metric, dose, damaged)
    return Row(
        kind=dose.kind,
        dose=dose.dose,
        metric=metric,
        expected=np.nan if known is None else known,
        value=float(each["value"].mean()),
        reference=float((each["value"] - each["difference"]).mean()),
        difference=float(each["difference"].mean()),
        half_width=float((each["difference_high"] - each["difference_low"]).mean() / 2),
        found=int((each["p"] <= ALPHA).sum()),
        repetitions=len(each),
    )


def false_alarms(prompts: "Sequence[Prompt]", experiments: int, seed: int = SEED) -> pd.DataFrame:
    """Compare the renderer without a fault with itself, and count what is found.

    Args:
        prompts: P prompts.
        experiments: Comparisons; no two share an image.
        seed: Where all samples come from.

    Returns:
        One row for each metric and family, as ``rcm_bench.statistics_coverage.real`` gives them.
    """
    seeds = 2 * SAMPLES * experiments
    images = draw_images(prompts, seeds, NONE, seed - 1)
    pool = scored("renderer", images, prompts, seeds)
    rng = np.random.default_rng(seed)
    found = []
    for number, own in enumerate(np.arange(seeds).reshape(-1, 2, SAMPLES)):
        experiment = Experiment("all", 0, own)
        table = compared(pool.samples, pool.scores, experiment, rng)
        found.append(outcomes(table, experiment, number))
    lines = summary(pd.concat(found, ignore_index=True))
    return lines[["what", "alarms", "tests", "rate", "low", "high"]]
