"""Time grids and counts of the samplers, in pure arithmetic: a plan is made without torch.

Networks here are rectified flows: x_rf = (1 - t) x0 + t eps, v = eps - x0, x0 = x_rf - t v.
"""

import math
from collections.abc import Sequence

from rcm_bench.suite import (
    FASTGEN_PRESETS,
    ConsistencySampler,
    EulerSampler,
    MeanflowSampler,
    RcmSampler,
    SchedulerSampler,
    Strict,
    UnipcSampler,
)

Sampler = EulerSampler | MeanflowSampler | RcmSampler | SchedulerSampler | UnipcSampler
KINDS = ("euler", "meanflow", "rcm", "scheduler", "unipc")
# Rectified-flow times after 0.999 of NVlabs/FastGen (34f30e8), from its experiments WanT2V/
# config_dmd2 (two steps in a comment, reported in its README), WanT2V/config_dmd2_14b and
# CosmosPredict2/config_dmd2 (of Cosmos-Predict2.5); one step is its default for any network.
FASTGEN_START = 0.999
_FOUR = (0.937, 0.833, 0.624)
_FASTGEN: dict[str, dict[int, tuple[float, ...]]] = {
    "fastgen-wan-1.3b": {1: (), 2: (0.908,), 4: _FOUR},
    "fastgen-wan-14b": {1: (), 2: (0.833,)},
    "fastgen-cosmos": {1: (), 4: _FOUR},
}


def guidance_of(sampler: Sampler) -> float:
    """Return the guidance scale s of u + s (c - u); distilled students have theirs built in."""
    return 1.0 if isinstance(sampler, RcmSampler | MeanflowSampler) else sampler.guidance


def evaluations(sampler: Sampler, steps: int) -> int:
    """Return the network evaluations of one sample; guidance needs two a step."""
    return steps * (2 if guidance_of(sampler) != 1 else 1)


def trig_times(sampler: RcmSampler | ConsistencySampler, steps: int) -> tuple[float, ...]:
    """Return the TrigFlow times of a stochastic sampler, from atan(sigma_max) to 0.

    Raises:
        ValueError: There is no such grid, or it does not fall.
    """
    from rcm_distill.samplers.times import check_times, consistency_times

    if sampler.times is None:
        if sampler.preset == "paper" or sampler.preset == "repository":
            return consistency_times(steps, sampler.sigma_max, sampler.preset)
        return _fastgen_times(sampler.preset, sampler.sigma_max, steps)
    if str(steps) not in sampler.times:
        raise ValueError(f"'times' has no grid of {steps} steps, only {', '.join(sampler.times)}")
    later = sampler.times[str(steps)]
    if len(later) != steps - 1:
        raise ValueError(f"expected {steps - 1} times after the first, got {later}")
    times = (math.atan(sampler.sigma_max), *later, 0.0)
    check_times(times, repeats=True)
    return times


def _fastgen_times(preset: str, sigma_max: float, steps: int) -> tuple[float, ...]:
    if not math.isclose(sigma_max, FASTGEN_START / (1 - FASTGEN_START), rel_tol=1e-9):
        raise ValueError(
            f"preset '{preset}' begins at {FASTGEN_START}: expected sigma_max 999.0, "
            f"got {sigma_max}"
        )
    grids = _FASTGEN[preset]
    if steps not in grids:
        raise ValueError(
            f"preset '{preset}' has no grid of {steps} steps. Available: "
            f"{', '.join(map(str, grids))}; give 'times' for others."
        )
    later = (math.atan2(t, 1 - t) for t in grids[steps])
    return math.atan(sigma_max), *later, 0.0


def check_preset(sampler: Strict, family: str, size: str | None) -> None:
    """Refuse FastGen's grids of another model.

    Args:
        sampler: The suite's sampler.
        family: Name of the network's family.
        size: Its published size, such as ``1.3B``; None where it is another or not known.

    Raises:
        ValueError: Names the preset, the model, and the presets that it can have.
    """
    if not isinstance(sampler, RcmSampler) or sampler.preset not in FASTGEN_PRESETS:
        return
    own = [name for name in FASTGEN_PRESETS if name.split("-")[1] == family]
    sized = [name for name in own if size is not None and name.endswith(f"-{size.lower()}")]
    fit = sized or own
    if sampler.times is None and sampler.preset not in fit:
        model = family if size is None else f"{family} {size}"
        raise ValueError(
            f"preset '{sampler.preset}' is of another model: expected "
            f"{' or '.join(repr(name) for name in fit)} for {model}"
        )


def rf_times(sampler: EulerSampler | MeanflowSampler | RcmSampler, steps: int) -> tuple[float, ...]:
    """Return rectified-flow times sin t / (cos t + sin t), from noise to 0.

    MeanFlow's grid is Euler's, scaled to begin at ``start``: with shift 1 it is uniform, as that of
    NVlabs/FastGen (34f30e8).

    Raises:
        ValueError: There is no such grid.
    """
    from rcm_distill.samplers.times import euler_times

    if isinstance(sampler, RcmSampler):
        trig: Sequence[float] = trig_times(sampler, steps)
    else:
        trig = euler_times(steps, sampler.shift)
    start = sampler.start if isinstance(sampler, MeanflowSampler) else 1.0
    return tuple(start * math.sin(t) / (math.cos(t) + math.sin(t)) for t in trig)


def check_sampler(sampler: Strict, steps: Sequence[int], second_time: str | None = None) -> None:
    """Refuse a sampler that these networks do not have, and step counts without a grid.

    Args:
        sampler: The suite's sampler.
        steps: Step counts.
        second_time: What a second time embedding of the network sees; None where it has none.

    Raises:
        ValueError: Says which.
    """
    kind = getattr(sampler, "kind", "?")
    if not isinstance(sampler, Sampler):
        raise ValueError(f"expected a sampler of kind {', '.join(KINDS)}, got '{kind}'")
    if isinstance(sampler, MeanflowSampler) and second_time is None:
        raise ValueError(
            "'meanflow' jumps from one time to another, and this network is told one; a student "
            "with a second time embedding says so by 'second_time: difference' or 'end'"
        )
    if second_time is not None and not isinstance(sampler, MeanflowSampler):
        raise ValueError(
            f"'second_time: {second_time}' is a network of mean velocities between two times: "
            f"expected a sampler of kind 'meanflow', got '{kind}'"
        )
    for count in steps:
        if isinstance(sampler, EulerSampler | MeanflowSampler | RcmSampler):
            try:
                rf_times(sampler, count)
            except ValueError as fault:
                raise ValueError(f"at {count} steps: {fault}") from None
