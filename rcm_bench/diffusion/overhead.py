"""What the harness costs over a bare loop: the same networks, the same samples, in turns.

    python -m rcm_bench.diffusion.overhead --out overhead.json

Each round makes the samples of one model of a suite three times: by a plain loop that keeps
nothing (``bare``), by the harness as ``run`` samples (``harness``: batches that the store lacks,
files encoded beside the sampling, digests, records), and by the harness with some bytes in place
of each file (``kept_back``). The first rounds have a plain loop that writes each file before it
makes the next sample (``bare_writing``) too. What may be 1 % at most is ``asked`` in the file:
the ratio ``sampling``. The other ratios say where it comes from.

On a CPU choose a suite that a CPU can sample: ``--suite throughput_cpu``.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from math import isnan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rcm_bench.diffusion.overhead_turns import Took, Turn, bare, harness, parts_of
from rcm_bench.environment import device_name, environment, installed, pick_device
from rcm_bench.errors import UserError, unknown_name
from rcm_bench.manifest import make_manifest
from rcm_bench.prepare import Prepared, prepare
from rcm_bench.statistics.noninferiority import median_interval, outcome_of
from rcm_bench.suite_load import load_suite

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 0.01  # of a bare loop's time may the harness cost
ASKED = "sampling"
RATIOS = {
    ASKED: ("harness", "made", "bare", "until the last sample is there, files written meanwhile"),
    "later_samples": ("harness", "later", "bare", "the same without each turn's first sample, "
                      "beside which no file is encoded"),
    "kept_back": ("kept_back", "made", "bare", "the harness alone: no file is encoded"),
    "encoding": ("harness", "made", "kept_back", "what encoding files beside the sampling adds"),
    "whole": ("harness", "whole", "bare_writing", "until the last file is stored, over a loop "
              "that writes each file before the next sample"),
    "cpu": ("harness", "cpu", "bare", "this process' own work, all threads, files and all"),
    "cpu_kept_back": ("kept_back", "cpu", "bare", "this process' own work, no file encoded"),
}  # fmt: skip
"""Name of a ratio: whose seconds, which of them, over whose, and what that is."""
_ALIKE = 0.98  # share of values that agree to one level of 255: kernels may differ by rounding


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print what came out, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m rcm_bench.diffusion.overhead")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--suite", default="throughput_wan")
    parser.add_argument("--model", default="rcm")
    parser.add_argument("--steps", type=int, default=1, help="the fewest make the harness's share")
    parser.add_argument("--samples", type=int, default=2, help="in each turn, 2 or more")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--writing-rounds", type=int, default=1, help="how many rounds write bare")
    parser.add_argument("--most-seconds", type=float, default=110.0, help="no round begins later")
    given = parser.parse_args(arguments)
    if given.samples < 2:
        parser.error(f"--samples: expected 2 or more, got {given.samples}")
    start = time.perf_counter()
    prepared = small(given.suite, given.model, given.steps, given.samples)
    about = {"suite": given.suite, "model": given.model, "steps": given.steps}
    about["planning_seconds"] = time.perf_counter() - start
    about |= measure(
        prepared, pick_device(), given.rounds, given.most_seconds, given.writing_rounds
    )
    given.out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: about[key] for key in ("device", "rounds", "asked", "ratios")}))


def small(suite: str, model: str, steps: int, num_samples: int) -> Prepared:
    """Prepare one model of a suite at one number of steps, one sample a batch.

    Raises:
        UserError: There is no such model, it is not sampled by rCM's sampler, or not Wan2.1.
    """
    loaded = load_suite(suite)
    if model not in loaded.suite.models:
        raise unknown_name(f"{suite}: --model", "model", model, loaded.suite.models)
    entry = loaded.suite.models[model].model_copy(update={"role": "teacher", "steps": [steps]})
    kind = loaded.suite.samplers[entry.sampler]["kind"]
    if (entry.kind, kind) != ("wan", "rcm"):
        raise UserError(
            f"{suite}: --model: the bare loop is that of rCM's sampler on Wan2.1, expected kind "
            f"'wan' with a sampler of kind 'rcm', got '{entry.kind}' with '{kind}'"
        )
    changes = {
        "models": {model: entry},
        "prompts": loaded.suite.prompts.model_copy(update={"samples_per_prompt": num_samples}),
        "run": loaded.suite.run.model_copy(update={"batch_size": 1, "failures": "stop"}),
        "benchmarks": {"throughput": {}},
        **{"gates": {}, "published": [], "reuse": []},
    }
    chosen = loaded.suite.model_copy(update=changes)
    prepared = prepare(replace(loaded, suite=chosen, data=chosen.model_dump(mode="json")))
    if prepared.missing:
        raise UserError("\n".join(prepared.missing))
    return prepared


def measure(
    prepared: Prepared,
    device: str,
    num_rounds: int,
    most_seconds: float,
    writing_rounds: int = 0,
) -> dict[str, Any]:
    """Take turns after some that are not counted, and return times and ratios.

    Raises:
        RuntimeError: The bare loop did not make the harness's samples.
    """
    start = time.perf_counter()
    (model,) = prepared.models.values()
    model.load(device)
    items = [i for i in prepared.plan.items if i.prompt_id == prepared.plan.items[0].prompt_id]
    parts = parts_of(model, items[0])  # type: ignore[arg-type]
    manifest = make_manifest(prepared, environment(device))
    turns: dict[str, Callable[[], Turn]] = {
        "bare": lambda: bare(parts, items),
        "kept_back": lambda: harness(prepared, manifest, items, device, keep_back=True),
        "harness": lambda: harness(prepared, manifest, items, device, keep_back=False),
    }
    alike = _alike(turns["bare"]().arrays, turns["harness"]().arrays)
    began = time.perf_counter()
    rounds: dict[str, list[Took]] = {name: [] for name in (*turns, "bare_writing")}
    orders = [*permutations(turns)]
    while len(rounds["bare"]) < num_rounds and time.perf_counter() - began < most_seconds:
        number = len(rounds["bare"])
        for name in orders[number % len(orders)]:
            rounds[name].append(turns[name]().took)
        if number < writing_rounds:
            fps = model.settings.fps  # type: ignore[attr-defined]
            rounds["bare_writing"].append(bare(parts, items, fps).took)
    shape = model.settings  # type: ignore[attr-defined]
    found = ratios(rounds, len(items))
    return {
        **{"resolution": shape.resolution, "frames": shape.frames, "samples_a_turn": len(items)},
        **{"device": device_name(device), "torch": torch.__version__},
        **{"diffusers": installed("diffusers"), "equal_values": alike},
        **{"loading_seconds": began - start, "rounds_seconds": time.perf_counter() - began},
        "rounds": len(rounds["bare"]),
        "asked": {"ratio": ASKED, "at_most": 1 + MOST, **found[ASKED]},
        "ratios": found,
        "seconds": {name: [took._asdict() for took in each] for name, each in rounds.items()},
    }


def ratios(rounds: Mapping[str, Sequence[Took]], num_samples: int) -> dict[str, dict[str, Any]]:
    """Return the ratios of ``RATIOS``: median of the rounds' ratios, interval, judgement.

    Beside it what a sample takes longer in seconds, which says what the share would be of a sample
    that takes more or less. A ratio without rounds is left out; one of few has no interval.

    Args:
        rounds: What each loop took, by round.
        num_samples: How many samples in each turn.
    """
    found = {}
    for name, (ours, field, other, about) in RATIOS.items():
        # The loop that writes takes part in the first rounds only.
        pairs = [
            (getattr(a, field), getattr(b, field))
            for a, b in zip(rounds[ours], rounds[other], strict=False)
        ]
        if not pairs:
            continue
        number = num_samples - 1 if field == "later" else num_samples
        value, low, high = _middle([a / b for a, b in pairs])
        longer = _middle([(a - b) / number for a, b in pairs])
        found[name] = {
            "is": f"{ours} over {other}: {about}",
            **{"value": value, "low": low, "high": high, "rounds": len(pairs)},
            "at_most_1_percent_more": "inconclusive"
            if low is None or high is None
            else outcome_of(low - 1, high - 1, MOST),
            "seconds_a_sample_more": dict(zip(("value", "low", "high"), longer, strict=True)),
        }
    return found


def _middle(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return the median and its interval; no interval for fewer than six values."""
    low, high = (None if isnan(end) else end for end in median_interval(values))
    return median(values), low, high


def _alike(first: "Sequence[NDArray[np.uint8]]", second: "Sequence[NDArray[np.uint8]]") -> float:
    """Return the share of equal values, to one level, of the sample that has the least."""
    share = min(
        float((abs(a.astype(np.int16) - b.astype(np.int16)) <= 1).mean())
        for a, b in zip(first, second, strict=True)
    )
    if share < _ALIKE:
        raise RuntimeError(f"the bare loop made other samples: {share:.1%} of their values agree")
    return share


if __name__ == "__main__":
    main()
