"""The page of a study: answers, what they rest on, what was not equal, what has not run."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from rcm_bench.method_study.answers import QUESTIONS, Answer
from rcm_bench.method_study.measure import TEACHER, Measured
from rcm_bench.method_study.progress import Verdict
from rcm_bench.method_study.study import Study
from rcm_bench.statistics import value_of


class Trained(NamedTuple):
    """What became of one training.

    Attributes:
        name: Name of the training.
        method: Its method, or point of the sweep.
        settings: What the search chose for it.
        searched: Whether the search of its method has ended; the settings are not chosen before.
        passes: Compute of an iteration, in passes over a batch.
        steps: Iterations.
        updates: Student updates.
        seconds: Seconds of training, on a GPU that it may have shared.
        hardware: Where.
        curve: Its validation.
        failed: Why it diverged; None where it did not.
    """

    name: str
    method: str
    settings: Mapping[str, object]
    searched: bool
    passes: float
    steps: int
    updates: int
    seconds: float
    hardware: str
    curve: pd.DataFrame
    failed: str | None

    @property
    def state(self) -> str:
        """Say what became of it in a word or two."""
        if self.failed is not None:
            return "diverged"
        return "done" if self.steps else "not run"


_HOW = """
## How it was done

- **Budgets.** Every method was tuned in {trials} trials of {search:,} passes, a whole grid over
  its learning rate and one key of its own, and trained with {final:,} passes of the network over a
  batch of {batch} (1 for a pass without gradients, 3 with, 2 for a tangent). With equal compute
  methods have unequal numbers of student updates; the table **at equal updates** compares copies
  of the averaged students after {snapshot:,} updates each. Rates are constant and averages are
  power functions of the updates, so that a copy is what a shorter training would have ended with.
- **Tuning** looked at the share of right images on validation prompts alone, not at diversity.
- **Unit.** {prompts} prompts, {samples} samples of each; every student on the same prompts. A
  comparison rests on the prompts that all its checkpoints have something of (column *prompts*).
- **Intervals** are for new prompts and new training seeds at once: prompts and seeds are crossed,
  the variance of a difference is that of the seeds' means plus that over prompts less what both
  count, and Student's t has Satterthwaite's degrees of freedom
  (`rcm_bench/statistics/training_seeds.py`; simulated coverage in
  `reports/gallery/methods/coverage.csv`). A method with one training seed has an interval over
  prompts only, and is not judged.
- **Judged** is a comparison of two converged methods, all planned trainings of which have run,
  with p <= 5 % under Holm over all such comparisons of one table. *Not told apart* never means
  equal.
- **Converged** is a method whose line through the last {window:.0%} of its validation curve, all
  seeds together, rises or falls by at most {gain:g}; a rule that was committed with the search
  spaces.
- **What was not equal**: updates (where compute is), compute (where updates are), seconds (the
  table says), the critic's share; all students are sampled by the stochastic consistency sampler,
  also MeanFlow's, which has one of its own. DMD2 has no GAN branch and sCM no learned weight here.
- It holds for the shapes laboratory: evidence about small networks there, not a verdict on 14B.
"""


def readme(
    study: Study,
    trained: Sequence[Trained],
    verdicts: Mapping[str, Verdict],
    found: Mapping[str, Sequence[Answer]],
    measured: Measured,
    *,
    trials: Sequence[tuple[str, str]],
    snapshot: int,
) -> str:
    """Return the page in Markdown.

    Args:
        study: The study.
        trained: What was trained.
        verdicts: Who converged.
        found: Answers ``"at equal compute"`` and ``"at equal updates"``.
        measured: Sums per prompt; empty where nothing is trained.
        trials: Method and state of every trial of the search.
        snapshot: Student updates of the copies.
    """
    prompts = max((len(each.strata) for each in measured.values()), default=0)
    how = _HOW.format(
        trials=study.budget.trials,
        search=study.budget.search,
        final=study.budget.final,
        batch=study.budget.batch_size,
        snapshot=snapshot,
        prompts=prompts,
        samples=study.measure.samples_per_prompt,
        window=study.converged.window,
        gain=study.converged.gain,
    )
    lines = [f"# {study.about}", "", *_missing(trained, trials)]
    for name, own in found.items():
        lines += [f"## The questions, {name}", "", *_answers(own), ""]
    lines += [
        "## What the weight of the DMD term trades",
        "",
        *_sweep(study, trained, measured),
        "",
    ]
    lines += ["## All students", "", *_students(study, trained, measured), ""]
    lines += ["## Who converged", "", *_verdicts(verdicts), "", "![Curves](curves.svg)", ""]
    lines += ["## The trainings", "", *_trainings(trained), how]
    return "\n".join(lines).rstrip() + "\n"


def _missing(trained: Sequence[Trained], trials: Sequence[tuple[str, str]]) -> list[str]:
    """Say what has not run, where anything has not."""
    lines = []
    if any(state == "not run" for _, state in trials):
        counts = []
        for method in dict.fromkeys(name for name, _ in trials):
            own = [state for name, state in trials if name == method]
            counts.append(f"{method} {sum(state != 'not run' for state in own)} of {len(own)}")
        lines.append(f"- Trials of the search that have run: {', '.join(counts)}.")
    waiting = [one.name for one in trained if one.state == "not run"]
    if waiting:
        done = f"{len(trained) - len(waiting)} of {len(trained)} trainings have run"
        lines.append(f"- {done}. Not run: {', '.join(waiting)}.")
    if not lines:
        return []
    return [
        "**This study is not finished.** What is below has run; nothing of a method that has not "
        "run whole is ranked.",
        "",
        *lines,
        "",
    ]


def _answers(found: Sequence[Answer]) -> list[str]:
    lines = []
    for place, question in enumerate(QUESTIONS):
        own = [each for each in found if each.question == place]
        lines += [f"**{question.text}**", ""]
        if not own:
            lines += ["Nothing was measured.", ""]
            continue
        heads = ("metric", "compared", "steps", "prompts", "difference", "95 %", "p (Holm)", "df")
        lines.append(_line([*heads, "from seeds", "says"]))
        lines.append("|---" * (len(heads) + 2) + "|")
        lines += [_line(_answer_cells(each)) for each in own]
        lines.append("")
    return lines[:-1]


def _answer_cells(answer: Answer) -> list[str]:
    found = answer.found
    known = np.isfinite(found.low)
    return [
        answer.metric,
        f"{answer.first} - {answer.other}",
        str(answer.steps),
        str(answer.prompts),
        f"{found.difference:+.3f}" if np.isfinite(found.difference) else "-",
        f"{found.low:+.3f} to {found.high:+.3f}" if known else found.scope,
        f"{answer.p_holm:.3g}" if np.isfinite(answer.p_holm) else "-",
        f"{found.df:.1f}" if known else "-",
        f"{found.seed_share:.0%}" if np.isfinite(found.seed_share) else "-",
        answer.verdict,
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _value(measured: Measured, metric: str, names: Sequence[str], steps: int) -> str:
    found = [
        value_of(measured[metric, name, steps])
        for name in names
        if (metric, name, steps) in measured
    ]
    if not found:
        return "-"
    spread = f" +- {np.std(found, ddof=1):.3f}" if len(found) > 1 else ""
    return f"{np.mean(found):.3f}{spread}"


def _students(study: Study, trained: Sequence[Trained], measured: Measured) -> list[str]:
    shown = ("geneval.overall", "diversity.overall", "detail.psnr", "detail.sharpness")
    lines = [
        "Means over the training seeds that have run, +- their standard deviation.",
        "",
        f"| student | seeds | steps | {' | '.join(shown)} |",
        "|---|---|---|" + "---|" * len(shown),
    ]
    members: dict[str, list[str]] = {TEACHER: [TEACHER]}
    for one in trained:
        members.setdefault(one.method, []).append(one.name)
    for method, names in members.items():
        own = (study.measure.teacher_steps,) if method == TEACHER else study.measure.steps
        for steps in own:
            cells = [_value(measured, metric, names, steps) for metric in shown]
            seeds = sum((shown[0], name, steps) in measured for name in names)
            lines.append(f"| {method} | {seeds} | {steps} | {' | '.join(cells)} |")
    return lines


def _sweep(study: Study, trained: Sequence[Trained], measured: Measured) -> list[str]:
    sweep = study.sweep
    last = sweep.key.rpartition(".")[2]
    first = f"{sweep.method}-seed{study.seeds[0]}"
    fixed = study.method(sweep.method).objective.get(last)
    points: list[tuple[float, str]] = [(float(fixed), first)] if fixed is not None else []
    points += [
        (float(str(one.settings[sweep.key])), one.name)
        for one in trained
        if sweep.key in one.settings
    ]
    shown = ("geneval.overall", "diversity.overall", "detail.psnr", "detail.sharpness")
    lines = [
        f"One training seed each ({study.seeds[0]}): what differs by less than seeds do in the "
        "table of all students is no finding.",
        "",
        f"| {last} | steps | {' | '.join(shown)} |",
        "|---|---|" + "---|" * len(shown),
    ]
    for weight, name in sorted(points):
        for steps in study.measure.steps:
            cells = [_value(measured, metric, [name], steps) for metric in shown]
            lines.append(f"| {weight:g} | {steps} | {' | '.join(cells)} |")
    return lines


def _verdicts(verdicts: Mapping[str, Verdict]) -> list[str]:
    lines = ["| method | |", "|---|---|"]
    return lines + [f"| {name} | {verdict.reason} |" for name, verdict in verdicts.items()]


def _trainings(trained: Sequence[Trained]) -> list[str]:
    lines = [
        "| training | chosen | iterations | passes each | student updates | seconds | hardware |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in trained:
        chosen = ", ".join(f"{k.rpartition('.')[2]} {v}" for k, v in one.settings.items())
        cells = [one.name, chosen if one.searched else "nothing yet"]
        if one.state == "not run":
            cells += ["not run", *["-"] * 4]
        elif one.failed is not None:
            why = f"diverged: {one.failed}".replace("|", "/")
            cells += ["-", f"{one.passes:.2f}", "-", why, one.hardware]
        else:
            cells += [f"{one.steps:,}", f"{one.passes:.2f}", f"{one.updates:,}"]
            cells += [f"{one.seconds:.0f}", one.hardware]
        lines.append(_line(cells))
    return lines
