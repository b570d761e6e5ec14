"""A run that looks like the quickstart's, drawn from known accuracies: no model, no harness."""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from rcm_reports import ReportInput

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
COLORS = {
    "red": (214, 40, 40),
    "orange": (242, 140, 40),
    "yellow": (240, 210, 60),
    "green": (50, 150, 80),
    "blue": (50, 90, 200),
    "purple": (130, 70, 170),
    "pink": (240, 150, 190),
    "brown": (120, 80, 50),
    "black": (25, 25, 30),
    "white": (240, 240, 240),
}
RELATIONS = ("left of", "right of", "above", "below")
SHAPES = ("circle", "square", "triangle", "star")
# (accuracy, diversity) of each model by steps, and network evaluations per step.
MODELS: dict[str, dict[int, tuple[float, float]]] = {
    "teacher": {16: (0.95, 0.97), 4: (0.72, 0.9), 2: (0.4, 0.7), 1: (0.1, 0.3)},
    "rcm": {4: (0.92, 0.84), 2: (0.9, 0.8), 1: (0.84, 0.7)},
    "scm": {4: (0.86, 0.9), 2: (0.82, 0.88), 1: (0.68, 0.8)},
    "dmd2": {4: (0.91, 0.55), 2: (0.89, 0.5), 1: (0.82, 0.42)},
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to draw."""

    models: dict[str, dict[int, tuple[float, float]]] = field(default_factory=lambda: MODELS)
    reference: tuple[str, int] | None = ("teacher", 16)
    per_task: int = 10
    num_prompts: int = 58
    seeds: int = 4
    totals: bool = True
    names: dict[str, str] = field(default_factory=dict)
    prompts: Sequence[str] = ()
    side: int = 40
    images: bool = True
    intervals: bool = True
    missing: int = 0
    seed: int = 0


SMALL = Recipe(num_prompts=12, seeds=2)


def build(run_dir: Path, recipe: Recipe | None = None) -> ReportInput:
    recipe = recipe or Recipe()
    rng = np.random.default_rng(recipe.seed)
    samples, scores = _samples(run_dir, recipe, rng)
    measurements, paired = _tables(recipe, samples, scores, rng)
    timings = _timings(recipe, rng)
    failures = pd.DataFrame(
        columns=[
            "item_id",
            "model",
            "sampler",
            "steps",
            "prompt_id",
            "seed_index",
            "stage",
            "status",
            "message",
            "attempts",
        ]
    )
    if recipe.missing:
        gone = samples[samples["status"] != "ok"]
        failures = gone[["item_id", "model", "sampler", "steps", "prompt_id", "seed_index"]].assign(
            stage="sample", status="error", message="RuntimeError: non-finite values", attempts=2
        )
    return ReportInput(
        manifest=manifest(recipe, len(samples)),
        measurements=measurements,
        paired=paired,
        samples=samples,
        scores=scores,
        failures=failures,
        timings=timings,
        run_dir=run_dir,
    )


def manifest(recipe: Recipe, num_items: int) -> dict[str, Any]:
    def info(title: str, unit: str, about: str = "", *, headline: bool = False) -> dict[str, Any]:
        return {
            "title": title,
            "unit": unit,
            "higher_is_better": True,
            "about": about,
            "headline": headline,
        }

    metrics = {
        "geneval.overall": info(
            "Overall",
            "accuracy",
            "Does the image show what the prompt asks for? Mean of the six tasks.",
            headline=True,
        )
    }
    metrics |= {
        f"geneval.{task}": info(task.replace("_", " ").capitalize(), "accuracy") for task in TASKS
    }
    metrics["diversity.overall"] = info(
        "Overall",
        "ratio to the world",
        "How widely is varied what the prompt leaves open; 1 is as diverse as the world.",
        headline=True,
    )
    metrics |= {
        f"diversity.{name}": info(name.capitalize(), "ratio to the world")
        for name in ("color", "place", "size", "background")
    }
    metrics["detail.psnr"] = info(
        "PSNR", "dB", "How close is the image to its own scene, drawn again?", headline=True
    )
    metrics["detail.sharpness"] = info("Sharpness", "ratio to the truth")
    metrics["latency.nfe"] = info("Network evaluations", "evaluations")
    reference = (
        {"model": _name(recipe, recipe.reference[0]), "steps": recipe.reference[1]}
        if recipe.reference
        else None
    )
    return {
        "schema": 1,
        "suite": {"suite": "quickstart", "version": 1},
        "suite_digest": "3f1b7c0d9a55e2aa",
        "plan": {
            "num_items": num_items,
            "num_prompts": recipe.num_prompts,
            "samples_per_prompt": recipe.seeds,
        },
        "protocol": {
            "prompts": {"set": "shapes-geneval", "digest": "9c1de7a4b02f4c7e", "rewriting": None},
            "seeds": 'sha256("rcm-1|<sha256 of prompt>|<index>")',
            "samplers": {
                "euler": {"kind": "euler", "guidance": 3.0, "shift": 1.0, "times_dtype": "float64"},
                "consistency": {
                    "kind": "consistency",
                    "sigma_max": 80.0,
                    "times": [1.5583, 1.3, 1.0, 0.6, 0.0],
                },
            },
            "scorers": {
                "geneval": {"detector": "oracle", "version": "1"},
                "diversity": {"version": "1"},
            },
        },
        "protocol_fingerprint": "5e0f11c2",
        "reference": reference,
        "models": {
            _name(recipe, name): {
                "role": "teacher" if name == "teacher" else "student",
                "weights": f"lab-{name}",
                "digest": sha256(name.encode()).hexdigest(),
            }
            for name in recipe.models
        },
        "metrics": metrics,
        "environment": {
            "device": "cpu, 2 cores",
            "python": "3.11.9",
            "torch": "2.14.1",
            "numpy": "2.3.1",
            "git commit": "0123abc",
        },
        "created": "2026-01-02T03:04:05Z",
    }


def _name(recipe: Recipe, model: str) -> str:
    return recipe.names.get(model, model)


def _sampler(model: str) -> str:
    return "euler" if model == "teacher" else "consistency"


def _prompts(recipe: Recipe) -> list[tuple[str, str, str]]:
    shapes, colors = list(SHAPES), list(COLORS)
    found = []
    for index in range(recipe.num_prompts):
        task, turn = TASKS[index % len(TASKS)], index // len(TASKS)
        one, two = shapes[turn % 4], shapes[(turn + 1 + turn // 4) % 4]
        first, second = colors[turn % 10], colors[(turn + 3) % 10]
        text = {
            "single_object": f"a photo of a {one}",
            "two_object": f"a photo of a {one} and a {two}",
            "counting": f"a photo of {('two', 'three', 'four')[turn % 3]} {one}s",
            "colors": f"a photo of a {first} {one}",
            "position": f"a photo of a {one} {RELATIONS[turn % 4]} a {two}",
            "color_attr": f"a photo of a {first} {one} and a {second} {two}",
        }[task]
        found.append(
            (f"p{index:03d}", recipe.prompts[index] if index < len(recipe.prompts) else text, task)
        )
    return found


def _samples(
    run_dir: Path, recipe: Recipe, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    samples, scores = [], []
    prompts = _prompts(recipe)
    hardness = {prompt_id: rng.beta(2, 2) for prompt_id, _, _ in prompts}
    total = len(_cells(recipe)) * len(prompts) * recipe.seeds
    gone = set(rng.choice(total, size=recipe.missing, replace=False).tolist())
    for model, steps_table in recipe.models.items():
        for steps, (accuracy, diversity) in steps_table.items():
            for prompt_id, prompt, task in prompts:
                for seed_index in range(recipe.seeds):
                    item = f"{len(samples):016x}"
                    chance = (
                        accuracy + 0.6 * (0.5 - hardness[prompt_id]) * accuracy * (1 - accuracy) * 2
                    )
                    right = bool(rng.random() < min(max(chance, 0.01), 0.99))
                    blob = f"blobs/{item[-2:]}/{item}.png"
                    ok = len(samples) not in gone
                    boxes = _draw(
                        run_dir / blob, recipe, rng, right=right, diversity=diversity, write=ok
                    )
                    samples.append(
                        {
                            "sample_key": sha256(item.encode()).hexdigest(),
                            "item_id": item,
                            "model": _name(recipe, model),
                            "sampler": _sampler(model),
                            "steps": steps,
                            "prompt_id": prompt_id,
                            "prompt": prompt,
                            "task": task,
                            "seed_index": seed_index,
                            "seed": int(rng.integers(2**62)),
                            "blob": blob if ok else None,
                            "nfe": steps * (2 if model == "teacher" else 1),
                            "status": "ok" if ok else "error",
                            "flags": "",
                        }
                    )
                    if ok:
                        reason = "" if right else "expected circle>=1, found 0"
                        scores.append(
                            {
                                "sample_key": sha256(item.encode()).hexdigest(),
                                "item_id": item,
                                "benchmark": "geneval",
                                "scorer": "geneval",
                                "version": "1",
                                "metric": "correct",
                                "value": float(right),
                                "reason": reason,
                                "details": json.dumps({"boxes": boxes, "correct": right}),
                            }
                        )
    return pd.DataFrame(samples), pd.DataFrame(scores)


def _draw(
    path: Path,
    recipe: Recipe,
    rng: np.random.Generator,
    *,
    right: bool,
    diversity: float,
    write: bool,
) -> list[list[Any]]:
    """Return the boxes of a picture; write it where images are wanted."""
    kind = int(rng.integers(24))
    picture, boxes = _picture(recipe.side, right, round(diversity, 1), kind)
    if recipe.images and write:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    return boxes


@cache
def _picture(side: int, right: bool, diversity: float, kind: int) -> tuple[bytes, list[list[Any]]]:
    """Draw one or two shapes on a soft ground."""
    rng = np.random.default_rng([kind, int(10 * diversity), right])
    spread = diversity * side / 3
    boxes = []
    base = rng.integers(150, 230, 3)
    ramp = np.linspace(-25, 25, side)
    ground = base + ramp[:, None, None] * rng.normal(size=3) + rng.normal(0, 3, (side, side, 3))
    image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(2 if right else 1):
        name = list(COLORS)[int(rng.integers(10))]
        x, y = (side / 2 + rng.normal(size=2) * spread / 2).clip(side / 5, side * 4 / 5)
        r = side * (0.14 + 0.06 * rng.random())
        shape = SHAPES[int(rng.integers(4))]
        box = (x - r, y - r, x + r, y + r)
        if shape == "circle":
            pen.ellipse(box, fill=COLORS[name])
        elif shape == "square":
            pen.rectangle(box, fill=COLORS[name])
        else:
            pen.regular_polygon((x, y, r), 3 if shape == "triangle" else 5, fill=COLORS[name])
        score = round(0.7 + 0.3 * float(rng.random()), 3)
        boxes.append([*(round(float(v), 1) for v in box), score, f"{name} {shape}"])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), boxes


def _cells(recipe: Recipe) -> list[tuple[str, int]]:
    return [(model, steps) for model, table in recipe.models.items() for steps in table]


def _tables(
    recipe: Recipe, samples: pd.DataFrame, scores: pd.DataFrame, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    joined = samples.merge(scores[["item_id", "value"]], on="item_id", how="left")
    by_prompt = joined.groupby(["model", "steps", "task", "prompt_id"])["value"].mean()
    rows, pairs = [], []
    for model, steps in _cells(recipe):
        name, cell = (
            _name(recipe, model),
            joined[(joined["model"] == _name(recipe, model)) & (joined["steps"] == steps)],
        )
        values = by_prompt[name, steps]
        tasks = [task for task in TASKS if task in values.index.get_level_values(0)]
        for metric, chosen in [
            *((task, [task]) for task in tasks),
            *([("overall", tasks)] if recipe.totals else []),
        ]:
            mine = values[values.index.get_level_values(0).isin(chosen)].dropna()
            half = (
                1.96 * float(mine.std(ddof=1)) / math.sqrt(len(mine)) if len(mine) > 1 else math.nan
            )
            common = _common(
                recipe,
                model,
                steps,
                "geneval",
                metric,
                len(mine),
                int(cell[cell["task"].isin(chosen)]["value"].notna().sum()),
                int(cell[cell["task"].isin(chosen)]["value"].isna().sum()),
            )
            rows.append(common | _around(recipe, float(mine.mean()), max(half, 0.004)))
            if recipe.reference and (model, steps) != recipe.reference:
                other = by_prompt[_name(recipe, recipe.reference[0]), recipe.reference[1]]
                other = other[other.index.get_level_values(0).isin(chosen)]
                d = (mine - other).dropna()
                spread = 1.96 * float(d.std(ddof=1)) / math.sqrt(len(d)) if len(d) > 1 else math.nan
                pairs.append(
                    common
                    | _around(recipe, float(mine.mean()), max(half, 0.004))
                    | _pair(
                        recipe, float(d.mean()), spread, float(mine.mean()), float(other.mean())
                    )
                )
        _, diversity = recipe.models[model][steps]
        others = [
            ("diversity", n, diversity + 0.03 * k, 0.05)
            for k, n in enumerate(("overall", "color", "place", "size", "background"))
        ]
        others += [
            (
                "detail",
                "psnr",
                24 + 4 * recipe.models[model][steps][0] + float(rng.normal(0, 0.1)),
                0.4,
            ),
            ("detail", "sharpness", 0.8 + 0.15 * diversity, 0.03),
        ]
        for benchmark, metric, value, half in others:
            common = _common(
                recipe,
                model,
                steps,
                benchmark,
                metric,
                recipe.num_prompts,
                recipe.num_prompts * recipe.seeds,
                0,
            )
            rows.append(common | _around(recipe, value, half))
            if recipe.reference and (model, steps) != recipe.reference:
                ref = recipe.models[recipe.reference[0]][recipe.reference[1]]
                base = next(v for b, m, v, _ in _others(ref) if (b, m) == (benchmark, metric))
                pairs.append(
                    common
                    | _around(recipe, value, half)
                    | _pair(recipe, value - base, 1.2 * half, value, base)
                )
        rows.append(
            _common(recipe, model, steps, "latency", "nfe", recipe.num_prompts, 1, 0)
            | {
                "value": float(steps * (2 if model == "teacher" else 1)),
                "se": 0.0,
                "low": math.nan,
                "high": math.nan,
                "unit": "evaluations",
            }
        )
    return pd.DataFrame(rows), pd.DataFrame(pairs)


def _others(entry: tuple[float, float]) -> list[tuple[str, str, float, float]]:
    accuracy, diversity = entry
    return [
        *(
            ("diversity", n, diversity + 0.03 * k, 0.05)
            for k, n in enumerate(("overall", "color", "place", "size", "background"))
        ),
        ("detail", "psnr", 24 + 4 * accuracy, 0.4),
        ("detail", "sharpness", 0.8 + 0.15 * diversity, 0.03),
    ]


def _common(
    recipe: Recipe,
    model: str,
    steps: int,
    benchmark: str,
    metric: str,
    n_prompts: int,
    n: int,
    missing: int,
) -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "metric": metric,
        "model": _name(recipe, model),
        "sampler": _sampler(model),
        "steps": steps,
        "n_prompts": n_prompts,
        "n_samples": n,
        "n_missing": missing,
        "unit": "accuracy" if benchmark == "geneval" else "ratio",
        "method": "clustered by prompt, t",
        "population": "new prompts of the same tasks",
        "protocol": "5e0f11c2",
    }


def _around(recipe: Recipe, value: float, half: float) -> dict[str, float]:
    if not recipe.intervals or math.isnan(half):
        return {"value": value, "se": math.nan, "low": math.nan, "high": math.nan}
    return {"value": value, "se": half / 1.96, "low": value - half, "high": value + half}


def _pair(
    recipe: Recipe, difference: float, half: float, value: float, base: float
) -> dict[str, Any]:
    ratio = value / base if base else math.nan
    spread = half / base if base and recipe.intervals else math.nan
    half = half if recipe.intervals else math.nan
    apart = abs(difference) > half if not math.isnan(half) else False
    assert recipe.reference
    return {
        "reference_model": _name(recipe, recipe.reference[0]),
        "reference_steps": recipe.reference[1],
        "difference": difference,
        "difference_low": difference - half,
        "difference_high": difference + half,
        "p": 0.01 if apart else 0.4,
        "p_holm": 0.02 if apart else 0.8,
        "tied": not apart,
        "ratio": ratio,
        "ratio_low": ratio - spread,
        "ratio_high": ratio + spread,
    }


def _timings(recipe: Recipe, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for model, steps in _cells(recipe):
        nfe = steps * (2 if model == "teacher" else 1)
        value = 0.0021 * nfe + 0.0008 + float(rng.normal(0, 2e-5))
        rows.append(
            {
                "benchmark": "latency",
                "metric": "seconds_per_image",
                "model": _name(recipe, model),
                "sampler": _sampler(model),
                "steps": steps,
                "n": 12,
                "value": value,
                "low": value * 0.97 if recipe.intervals else math.nan,
                "high": value * 1.04 if recipe.intervals else math.nan,
                "unit": "s",
                "method": "median",
                "device": "cpu",
            }
        )
    return pd.DataFrame(rows)
