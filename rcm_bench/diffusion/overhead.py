"""What the harness costs over a bare loop: the same networks, the same samples, in turns.

    python -m rcm_bench.diffusion.overhead --out overhead.json

Three ways to make the samples of one model of a suite: a plain loop that keeps nothing, a plain
loop that writes each file before it makes the next, and the harness as ``run`` samples: batches
that the store lacks, files written beside the sampling, digests, records. ``sampling`` is the
harness until its last sample is there, over the plain loop; ``whole`` is until the last file is
stored, over the loop that writes. Times are of the wall and of this process' own work (``cpu``),
which other people's work on the machine moves less.

On a CPU choose a suite that a CPU can sample: ``--suite throughput_cpu``.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rcm_bench.diffusion.bare_loop import Parts, samples
from rcm_bench.diffusion.grids import rf_times
from rcm_bench.environment import device_name, environment, installed, pick_device
from rcm_bench.errors import UserError, unknown_name
from rcm_bench.manifest import make_manifest
from rcm_bench.media import encode
from rcm_bench.prepare import Prepared, prepare
from rcm_bench.sampling import missing_work, sample
from rcm_bench.statistics.noninferiority import median_interval, outcome_of
from rcm_bench.store import RunStore
from rcm_bench.suite import RcmSampler
from rcm_bench.suite_load import load_suite
from rcm_bench.types import Media, WorkItem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rcm_bench.diffusion.model import DiffusionModel

MOST = 0.01  # of a bare loop's time may the harness cost
_ALIKE = 0.98  # share of values that agree to one level of 255: kernels may differ by rounding


class Took(NamedTuple):
    """Seconds of one turn: until the last sample was there, until all was written, of our work."""

    made: float
    whole: float
    cpu: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print what came out, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m rcm_bench.diffusion.overhead")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--suite", default="throughput_wan")
    parser.add_argument("--model", default="rcm")
    parser.add_argument("--steps", type=int, default=1, help="the fewest make the harness's share")
    parser.add_argument("--samples", type=int, default=3, help="in each turn")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--most-seconds", type=float, default=100.0)
    given = parser.parse_args(arguments)
    start = time.perf_counter()
    prepared = small(given.suite, given.model, given.steps, given.samples)
    about = {"suite": given.suite, "model": given.model, "steps": given.steps}
    about["planning_seconds"] = time.perf_counter() - start
    about |= measure(prepared, pick_device(), given.rounds, given.most_seconds)
    given.out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: about[key] for key in ("device", "rounds", "ratios")}))


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
    prepared: Prepared, device: str, num_rounds: int, most_seconds: float
) -> dict[str, Any]:
    """Take turns after one that is not counted, and return times and ratios.

    Raises:
        RuntimeError: The bare loop did not make the harness's samples.
    """
    (model,) = prepared.models.values()
    model.load(device)
    items = [i for i in prepared.plan.items if i.prompt_id == prepared.plan.items[0].prompt_id]
    parts = _parts(model, items[0])  # type: ignore[arg-type]
    manifest = make_manifest(prepared, environment(device))
    turns: dict[str, Callable[[], tuple[Took, list[Any]]]] = {
        "bare": lambda: _bare(parts, items, None),
        "bare_writing": lambda: _bare(parts, items, model.settings.fps),  # type: ignore[attr-defined]
        "harness": lambda: _harness(prepared, manifest, items, device),
    }
    made = {name: turn()[1] for name, turn in turns.items()}
    alike = min(_alike(a, b) for a, b in zip(made["bare"], made["harness"], strict=True))
    if alike < _ALIKE:
        raise RuntimeError(f"the bare loop made other samples: {alike:.1%} of their values agree")
    rounds: dict[str, list[Took]] = {name: [] for name in turns}
    start = time.perf_counter()
    while len(rounds["bare"]) < num_rounds and time.perf_counter() - start < most_seconds:
        order = [*turns] if len(rounds["bare"]) % 2 else [*reversed(turns)]
        for name in order:
            rounds[name].append(turns[name]()[0])
    shape = model.settings  # type: ignore[attr-defined]
    return {
        **{"resolution": shape.resolution, "frames": shape.frames, "samples_a_turn": len(items)},
        **{"device": device_name(device), "torch": torch.__version__},
        **{"diffusers": installed("diffusers"), "equal_values": alike},
        "rounds": len(rounds["bare"]),
        "seconds": {name: [took._asdict() for took in each] for name, each in rounds.items()},
        "ratios": ratios(rounds, len(items)),
    }


def ratios(rounds: dict[str, list[Took]], num_samples: int = 1) -> dict[str, dict[str, Any]]:
    """Return the harness over the bare loops: median of the rounds' ratios, interval, judgement.

    Beside it what a sample takes longer in seconds, which says what the share would be of a sample
    that takes more or less.

    Args:
        rounds: What each loop took, by round.
        num_samples: How many samples in each.
    """
    found = {}
    for name, field, over in (
        ("sampling", "made", "bare"),
        ("whole", "whole", "bare_writing"),
        ("cpu", "cpu", "bare_writing"),
    ):
        pairs = [
            (getattr(ours, field), getattr(bare, field))
            for ours, bare in zip(rounds["harness"], rounds[over], strict=True)
        ]
        value, low, high = _middle([ours / bare for ours, bare in pairs])
        longer = _middle([(ours - bare) / num_samples for ours, bare in pairs])
        found[name] = {
            **{"value": value, "low": low, "high": high},
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


def _parts(model: "DiffusionModel", item: WorkItem) -> Parts:
    """Return the networks that the harness uses, loaded once for all turns."""
    engine = model._engine
    assert engine is not None and isinstance(model.sampler, RcmSampler), "checked before"
    placement = engine.placed(1)
    if placement.mode != "resident":
        raise UserError(f"{engine.place}.memory: expected room for all networks at once")
    with placement.transformer() as net, placement.vae() as vae:
        return Parts(
            net=net,
            vae=vae,
            text_BLD=engine.velocity(net, [item], None).text_BLD,
            times=rf_times(model.sampler, item.steps),
            shape=model.latent_shape,
            round_times=model.sampler.timestep_dtype == "bfloat16",
            autotune=model.settings.autotune,
        )


def _bare(
    parts: Parts, items: Sequence[WorkItem], fps: float | None
) -> "tuple[Took, list[NDArray[np.uint8]]]":
    made = []
    with tempfile.TemporaryDirectory() as folder:
        start, work = time.perf_counter(), time.process_time()
        for number, frames in enumerate(samples(parts, [item.seed for item in items])):
            made.append(frames)
            if fps is not None:
                data = encode(Media(array=frames, nfe=1, fps=fps))
                (Path(folder) / f"{number}.mp4").write_bytes(data)
        seconds = time.perf_counter() - start
        return Took(seconds, seconds, time.process_time() - work), made


class _Watched:
    """A model whose last sample's time is noted, as the sampling thread sees it."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.arrays: list[Any] = []
        self.last = 0.0

    def generate(self, items: Sequence[WorkItem]) -> Iterator[Media]:
        for media in self._model.generate(items):
            self.arrays.append(media.array)
            self.last = time.perf_counter()
            yield media


def _harness(
    prepared: Prepared, manifest: dict[str, Any], items: Sequence[WorkItem], device: str
) -> "tuple[Took, list[NDArray[np.uint8]]]":
    plan = prepared.plan
    watched = {name: _Watched(model) for name, model in prepared.models.items()}
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore.create(Path(folder) / "run", manifest, plan.prompts)
        name = device_name(device)
        try:
            start, work = time.perf_counter(), time.process_time()
            todo = missing_work(plan, store.index(), frozenset({items[0].prompt_id}))
            sample(plan, watched, store, todo, device=name)  # type: ignore[arg-type]
            whole, cpu = time.perf_counter() - start, time.process_time() - work
        finally:
            store.close()
    (only,) = watched.values()
    return Took(only.last - start, whole, cpu), only.arrays


def _alike(first: "NDArray[np.uint8]", second: "NDArray[np.uint8]") -> float:
    return float((abs(first.astype(int) - second.astype(int)) <= 1).mean())


if __name__ == "__main__":
    main()
