"""Time grids and counts of the samplers, in pure arithmetic: a plan is made without torch.

Networks here are rectified flows: x_rf = (1 - t) x0 + t eps, v = eps - x0, x0 = x_rf - t v.
"""

import math
from collections.abc import Sequence

from rcm_bench.suite import (
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
# Rectified-flow times after 0.999 of NVlabs/FastGen (34f30e8): four steps of its DMD2 students of
# Wan2.1 1.3B and Cosmos-Predict2, two of Wan2.1 1.3B (of 14B it has 0.833, and no other grid).
FASTGEN_START = 0.999
_FASTGEN: dict[int, tuple[float, ...]] = {1: (), 2: (0.908,), 4: (0.937, 0.833, 0.624)}


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
        if sampler.preset == "fastgen":
            return _fastgen_times(sampler.sigma_max, steps)
        return consistency_times(steps, sampler.sigma_max, sampler.preset)
    if str(steps) not in sampler.times:
        raise ValueError(f"'times' has no grid of {steps} steps, only {', '.join(sampler.times)}")
    later = sampler.times[str(steps)]
    if len(later) != steps - 1:
        raise ValueError(f"expected {steps - 1} times after the first, got {later}")
    times = (math.atan(sampler.sigma_max), *later, 0.0)
    check_times(times, repeats=True)
    return times


def _fastgen_times(sigma_max: float, steps: int) -> tuple[float, ...]:
    if not math.isclose(sigma_max, FASTGEN_START / (1 - FASTGEN_START), rel_tol=1e-9):
        raise ValueError(
            f"preset 'fastgen' begins at {FASTGEN_START}: expected sigma_max 999.0, got {sigma_max}"
        )
    if steps not in _FASTGEN:
        raise ValueError(
            f"preset 'fastgen' has no grid of {steps} steps. Available: "
            f"{', '.join(map(str, _FASTGEN))}; give 'times' for others."
        )
    later = (math.atan2(t, 1 - t) for t in _FASTGEN[steps])
    return math.atan(sigma_max), *later, 0.0


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
