"""The four questions, and what the measurement says of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rcm_bench.method_study.measure import TEACHER, Measured, shared
from rcm_bench.method_study.progress import Verdict
from rcm_bench.statistics import Clusters, holm
from rcm_bench.statistics.training_seeds import SeededComparison, compare_methods

ALPHA = 0.05
DETAIL = ("detail.psnr", "detail.sharpness")
DIVERSITY = ("diversity.overall",)
QUALITY = ("geneval.overall",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question, and the comparisons that answer it.

    Attributes:
        text: The question.
        first: The method in question.
        others: What it is compared with, metric by metric.
        metrics: The metrics.
    """

    text: str
    first: str
    others: tuple[str, ...]
    metrics: tuple[str, ...]


QUESTIONS = (
    Question(
        text="Does sCM lose fine detail against rCM?",
        first="scm",
        others=("rcm",),
        metrics=DETAIL,
    ),
    Question(
        text="Does DMD2 lose diversity against rCM and the teacher?",
        first="dmd2",
        others=("rcm", TEACHER),
        metrics=DIVERSITY,
    ),
    Question(
        text="Does rCM keep both, quality and diversity?",
        first="rcm",
        others=("dmd2", "scm", TEACHER),
        metrics=(*QUALITY, *DIVERSITY, *DETAIL),
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One comparison of one question at one number of steps.

    Attributes:
        question: Index of the question.
        metric: The metric.
        first: The method in question.
        other: What it is compared with.
        steps: Number of steps.
        found: The comparison.
        prompts: Prompts that it rests on.
        dropped: Prompts that some checkpoint has nothing of, in part or in all.
        p_holm: Its p-value under Holm over all comparisons of the page.
        ranked: Whether both are converged; otherwise it is shown and not judged.
    """

    question: int
    metric: str
    first: str
    other: str
    steps: int
    found: SeededComparison
    prompts: int
    dropped: int
    p_holm: float
    ranked: bool

    @property
    def verdict(self) -> str:
        """Say what the comparison says, in a word or two."""
        if not self.ranked:
            return "not ranked"
        if not np.isfinite(self.p_holm):
            return "not told"
        if self.p_holm >= ALPHA:
            return "not told apart"
        return "lower" if self.found.difference < 0 else "higher"


def answers(
    measured: Measured,
    members: Mapping[str, Sequence[str]],
    verdicts: Mapping[str, Verdict],
    *,
    steps: Sequence[int],
    teacher_steps: int,
    tail: str = "",
) -> list[Answer]:
    """Answer all questions at every number of steps.

    Args:
        measured: Sums per prompt.
        members: Names of the trainings of each method.
        verdicts: Who converged.
        steps: Numbers of steps.
        teacher_steps: The teacher's.
        tail: ``"-equal-updates"`` for the copies at equal updates.
    """

    def checkpoints(method: str, metric: str, count: int) -> list[Clusters]:
        keys = [(metric, name + tail, count) for name in members.get(method, ())]
        if method == TEACHER:
            keys = [(metric, TEACHER, teacher_steps)]
        return [measured[key] for key in keys if key in measured]

    found = []
    for place, question in enumerate(QUESTIONS):
        for other in question.others:
            for metric in question.metrics:
                for count in steps:
                    one = checkpoints(question.first, metric, count)
                    two = checkpoints(other, metric, count)
                    if not one or not two:
                        continue
                    ranked = all(
                        name == TEACHER or verdicts[name].converged
                        for name in (question.first, other)
                    )
                    kept, dropped = shared([*one, *two])
                    parts = kept[: len(one)], kept[len(one) :]
                    compared = compare_methods(*parts, fixed=other == TEACHER)
                    found.append(
                        Answer(
                            question=place,
                            metric=metric,
                            first=question.first,
                            other=other,
                            steps=count,
                            found=compared,
                            prompts=len(kept[0].strata),
                            dropped=dropped,
                            p_holm=float("nan"),
                            ranked=ranked,
                        )
                    )
    return _adjusted(found)


def _adjusted(found: Sequence[Answer]) -> list[Answer]:
    """Adjust over the ranked comparisons with an interval over training seeds, all of one family.

    A comparison that two questions share (rCM against sCM and DMD2) is one test.
    """
    tests: dict[tuple[object, ...], float] = {}
    for each in found:
        if each.ranked and "training seeds" in each.found.scope:
            tests.setdefault(_identity(each), each.found.p)
    adjusted = dict(zip(tests, holm(np.array(list(tests.values()))), strict=True))
    return [replace(each, p_holm=float(adjusted.get(_identity(each), np.nan))) for each in found]


def _identity(answer: Answer) -> tuple[object, ...]:
    return (answer.metric, frozenset((answer.first, answer.other)), answer.steps)
