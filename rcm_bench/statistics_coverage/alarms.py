"""False alarms: the teacher against itself, where every difference that a test finds is chance."""

from dataclasses import dataclass

import numpy as np

from rcm_bench.statistics import can_pass, holm, least_p, sign_flip_p, wilson
from rcm_bench.statistics.paired import contributions
from rcm_bench.statistics_coverage.designs import Design, again, arranged

ALPHA = 0.05
STEPS = 3
"""A student has so many numbers of steps, each compared with the one teacher."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """How often a test, or a family of tests, finds a difference that is not there.

    Args:
        design: What was simulated or measured.
        what: One test, or a family under Holm.
        alarms: Number of alarms.
        trials: Number of tests or families.
        low: Lower end of Wilson's 95 % interval of the rate, over independent runs.
        high: Upper end.
    """

    design: str
    what: str
    alarms: int
    trials: int
    low: float
    high: float


def alarm(design: str, what: str, alarms: int, trials: int, independent: int) -> Alarm:
    """Make a row; tests of one run share its teacher, so the interval counts runs, not tests.

    Args:
        design: What was simulated or measured.
        what: One test, or a family.
        alarms: Number of alarms.
        trials: Number of tests.
        independent: Number of runs that share nothing.
    """
    low, high = wilson(alarms / trials, independent, 1.959964)
    return Alarm(design=design, what=what, alarms=alarms, trials=trials, low=low, high=high)


def family_alarm(p: np.ndarray, prompts: np.ndarray) -> bool:
    """Say whether Holm finds anything in a family, as the table of paired differences does it.

    Args:
        p: (m,) p-values.
        prompts: (m,) prompts behind each.
    """
    able = can_pass([least_p(int(n)) for n in prompts], ALPHA)
    return bool((holm(np.where(able, p, np.nan)) < ALPHA).any())


def simulated(design: Design, runs: int, rng: np.random.Generator, parts: bool) -> list[Alarm]:
    """Count alarms of a design whose two models have one law.

    Args:
        design: The design; its shares and reference are equal.
        runs: Simulated runs, each with `STEPS` students and one teacher.
        rng: Source of randomness.
        parts: Whether to test every task as well.
    """
    assert design.shares == design.reference
    strata = np.repeat(np.arange(len(design.prompts)), design.prompts)
    whole: list[np.ndarray] = []
    tasks: list[np.ndarray] = []
    for _ in range(runs):
        teacher, *students = (arranged(count, strata) for count in again(design, 1 + STEPS, rng))
        shares = [contributions(student, teacher) for student in students]
        whole.append(np.array([sign_flip_p(share) for share in shares]))
        if parts:
            labels = range(len(design.prompts))
            tasks.append(
                np.array([sign_flip_p(share[strata == t]) for share in shares for t in labels])
            )
    n = sum(design.prompts)
    found = [
        _tests(design.name, "overall, one test", whole, runs),
        _families(design.name, "overall x 3 steps, Holm", whole, np.full(STEPS, n), runs),
    ]
    if parts:
        sizes = np.tile(design.prompts, STEPS)
        found += [
            _tests(design.name, "one task, one test", tasks, runs),
            _families(design.name, "six tasks x 3 steps, Holm", tasks, sizes, runs),
        ]
    return found


def _tests(design: str, what: str, p: list[np.ndarray], runs: int) -> Alarm:
    every = np.concatenate(p)
    return alarm(design, what, int((every <= ALPHA).sum()), len(every), runs)


def _families(design: str, what: str, p: list[np.ndarray], prompts: np.ndarray, runs: int) -> Alarm:
    hits = sum(family_alarm(one, prompts) for one in p)
    return alarm(design, what, hits, len(p), runs)
