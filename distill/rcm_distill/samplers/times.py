"""Time grids of the samplers, in pure arithmetic: a plan is made without torch."""

import math
from collections.abc import Sequence
from typing import Literal

Preset = Literal["paper", "repository"]
# paper: 2510.08431v3, evaluation. repository: inference script of NVlabs/rcm at 5b41aa9.
_LATER_TIMES: dict[str, dict[int, tuple[float, ...]]] = {
    "paper": {
        1: (),
        2: (1.3,),
        3: (1.3, 1.0),
        4: (1.3, 1.0, 0.6),
        8: (1.3, 1.0, 1.0, 0.6, 0.6, 0.3, 0.3),
    },
    "repository": {
        1: (),
        2: (1.5,),
        3: (1.5, 1.4),
        4: (1.5, 1.4, 1.0),
    },
}


def consistency_times(
    steps: int, sigma_max: float = 80.0, preset: Preset = "paper"
) -> tuple[float, ...]:
    """Return the published grid atan(sigma_max), later times, 0.

    Args:
        steps: 1 to 4; 8 too in ``"paper"``, which repeats times: fresh noise at the same level.
        sigma_max: Noise level of the first step; 80 for images, up to 1600 for video.
        preset: ``"paper"`` goes on with 1.3, 1.0, 0.6; ``"repository"`` with 1.5, 1.4, 1.0.

    Returns:
        ``steps + 1`` TrigFlow times. Any other grid can be given to ``sample`` itself.

    Raises:
        ValueError: There is no such preset, or it has no such number of steps.
    """
    if preset not in _LATER_TIMES:
        raise ValueError(f"unknown preset '{preset}'. Available: {', '.join(_LATER_TIMES)}.")
    grids = _LATER_TIMES[preset]
    if steps not in grids:
        raise ValueError(
            f"preset '{preset}' has no grid of {steps} steps. "
            f"Available: {', '.join(map(str, grids))}; give the times themselves for others."
        )
    times = (math.atan(sigma_max), *grids[steps], 0.0)
    if sigma_max <= 0 or any(a <= b for a, b in zip(times[:1], times[1:], strict=False)):
        raise ValueError(
            f"sigma_max must lie above the later times {grids[steps]}, got {sigma_max}"
        )
    return times


def euler_times(steps: int, shift: float = 1.0) -> tuple[float, ...]:
    """Return a grid uniform in rectified-flow time and then shifted, from pi/2 to 0.

    t_rf = shift u / (1 + (shift - 1) u), u = 1 - k / steps; t = atan2(t_rf, 1 - t_rf).

    Args:
        steps: Number of steps, at least 1.
        shift: Above 1 spends more steps near noise; positive.

    Returns:
        ``steps + 1`` TrigFlow times.
    """
    check_steps(steps)
    if shift <= 0:
        raise ValueError(f"shift must be positive, got {shift}")
    grid = [1 - k / steps for k in range(steps + 1)]
    shifted = [shift * u / (1 + (shift - 1) * u) for u in grid]
    return tuple(math.atan2(t, 1 - t) for t in shifted)


def check_times(times: Sequence[float], *, repeats: bool = False) -> None:
    """Refuse time grids that do not run from noise to data.

    Args:
        times: The grid.
        repeats: True where a time above 0 may come twice in a row, as a sampler that adds fresh
            noise allows.

    Raises:
        ValueError: Fewer than two times, not decreasing, or not ending at 0.
    """
    decreasing = all(
        a > b or (repeats and a == b > 0) for a, b in zip(times, times[1:], strict=False)
    )
    if len(times) < 2 or not decreasing or times[-1] != 0 or times[0] > 1.5708:
        raise ValueError(
            f"times must fall from at most pi/2 to 0 in at least one step, got {tuple(times)}"
        )


def check_steps(steps: int) -> None:
    """Refuse a number of steps below 1."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
