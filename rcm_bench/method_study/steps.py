"""The steps of a study, each of which goes on where it was left: train, measure, report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rcm_bench.method_study import answers, measure, page
from rcm_bench.method_study.driver import Job, Machine, run_jobs
from rcm_bench.method_study.progress import (
    Verdict,
    choose,
    curve,
    failure,
    is_done,
    judge,
    record,
    trial_score,
    weights_of,
)
from rcm_bench.method_study.study import Study
from rcm_bench.method_study.trainings import (
    Training,
    base_method,
    copied_at,
    cost,
    equal_updates,
    finals,
    search,
    write_recipe,
)

SECONDS_PER_VALIDATION = 3.0
"""432 images sampled, and read by the oracle on one core (1.8 to 3.1 s, two busy x86 cores)."""
SECONDS_PER_PASS = 0.002
"""A pass over a batch of 256 on one H100: lab-rcm took 801 s for 40,000 iterations of 10 passes."""


def plan(study: Study) -> list[str]:
    """Say what there is to train and about how long it takes, one line each."""
    first = {name: study.method(name).settings()[0] for name in study.methods}
    jobs = [*search(study), *finals(study, first)]
    lines, passes = [f"{study.study}: {study.about}"], 0
    for job in jobs:
        budget = study.budget.search if job.stage == "search" else study.budget.final
        found, passes = cost(study, job), passes + budget
        iterations = found.iterations(budget)
        lines.append(
            f"{job.name}: {iterations:,} iterations, {int(iterations * found.updates):,} student "
            f"updates, about {budget * SECONDS_PER_PASS * study.budget.batch_size / 256:.0f} s"
        )
    hours = passes * SECONDS_PER_PASS * study.budget.batch_size / 256 / 3600
    lines.append(
        f"{len(jobs)} trainings, {hours:.1f} hours of one H100 in all (compilation not counted); "
        "what the search has chosen changes iterations and updates, not the compute"
    )
    return lines


def seconds(study: Study, out: Path, training: Training) -> float:
    """Say how long a training takes from its turn to its end.

    The slowest pass that a training of its method had so far counts, and a tenth more.
    """
    budget = study.budget.search if training.stage == "search" else study.budget.final
    slowest = 0.0
    for each in known(study, out):
        if base_method(study, each) == base_method(study, training):
            done = record(out, each)
            if done is not None:
                passes = cost(study, each).passes * done["steps"]
                slowest = max(slowest, done["seconds_alone"] / passes)
    validations = study.validations + 2 if training.stage == "final" else 1
    turn = 1.1 * budget * (slowest or SECONDS_PER_PASS * study.budget.batch_size / 256)
    return turn + SECONDS_PER_VALIDATION * validations


def known(study: Study, out: Path) -> list[Training]:
    """Return the trainings that are known so far: the trials, and after the search all."""
    return [*search(study), *(finals(study, _chosen(study, out)) if _searched(out) else ())]


def train(study: Study, out: Path, machine: Machine) -> bool:
    """Search, choose, and train what is measured.

    Args:
        study: The study.
        out: Its folder.
        machine: Where, and for how long.

    Returns:
        Whether all is trained or has failed for good.
    """
    recipes = out / "recipes"
    trials = [Job(each, write_recipe(study, each, recipes, None)) for each in search(study)]
    if not run_jobs(trials, out, machine):
        return False
    chosen = _chosen(study, out)
    wanted = finals(study, chosen)
    snapshot = equal_updates(study, wanted)
    jobs = [Job(each, _final_recipe(study, each, recipes, snapshot)) for each in wanted]
    return run_jobs(jobs, out, machine)


def _final_recipe(study: Study, training: Training, folder: Path, snapshot: int) -> Path:
    return write_recipe(study, training, folder, copied_at(study, training, snapshot))


def suite(study: Study, out: Path) -> Path:
    """Write the suite that measures what was trained."""
    wanted = finals(study, _chosen(study, out))
    done = [training for training in wanted if is_done(out, training)]
    return measure.write_suite(study, out, done, equal_updates(study, wanted))


def report(study: Study, out: Path, folder: Path) -> None:
    """Write ``README.md``, ``values.csv``, ``comparisons.csv``, ``search.csv`` and ``curves.svg``.

    Args:
        study: The study.
        out: Its folder, with the run ``measured``.
        folder: Where the report goes.
    """
    import pandas as pd

    wanted = finals(study, _chosen(study, out))
    snapshot = equal_updates(study, wanted)
    members: dict[str, list[str]] = {}
    for training in wanted:
        members.setdefault(training.method, []).append(training.name)
    verdicts = {name: _verdict(study, out, wanted, name) for name in members}
    measured = measure.read_run(out / "measured")
    found = {
        title: answers.answers(
            measured,
            members,
            verdicts,
            steps=study.measure.steps,
            teacher_steps=study.measure.teacher_steps,
            tail=tail,
        )
        for title, tail in (("at equal compute", ""), ("at equal updates", "-equal-updates"))
    }
    trained = [_trained(study, out, training) for training in wanted]
    folder.mkdir(parents=True, exist_ok=True)
    searched = pd.DataFrame(_search_rows(study, out))
    written = (
        (page.table(trained, measured), "values.csv"),
        (page.comparisons(found), "comparisons.csv"),
        (searched, "search.csv"),
    )
    for table, name in written:
        table.to_csv(folder / name, index=False, float_format="%.5g", lineterminator="\n")
    page.plot_curves(trained, folder / "curves.svg")
    text = page.readme(
        study, trained, verdicts, found, measured, snapshot=snapshot, size=_size(out, wanted)
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _chosen(study: Study, out: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return what the search chose, written down once."""
    path = out / "chosen.json"
    if not path.exists():
        path.write_text(json.dumps(choose(study, out), indent=1) + "\n", encoding="utf-8")
    found: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _searched(out: Path) -> bool:
    return (out / "chosen.json").exists()


def _verdict(study: Study, out: Path, wanted: Sequence[Training], name: str) -> Verdict:
    own = [training for training in wanted if training.method == name]
    broken = [why for training in own if (why := failure(out, training)) is not None]
    if broken:
        return Verdict(False, float("nan"), f"unconverged: a training broke off: {broken[0]}")
    steps = cost(study, own[0]).iterations(study.budget.final)
    return judge([curve(out, training) for training in own], steps, study.converged)


def _trained(study: Study, out: Path, training: Training) -> page.Trained:
    card: Mapping[str, Any] = {}
    if weights_of(out, training).exists():
        from rcm_distill import checkpoint

        card = checkpoint.read_card(weights_of(out, training))
    return page.Trained(
        name=training.name,
        method=training.method,
        settings=training.settings,
        passes=cost(study, training).passes,
        steps=int(card.get("steps", 0)),
        updates=int(card.get("student_updates", 0)),
        seconds=float(card.get("seconds", float("nan"))),
        hardware=str(card.get("hardware", "-")),
        curve=curve(out, training),
        failed=failure(out, training),
    )


def _search_rows(study: Study, out: Path) -> list[dict[str, Any]]:
    chosen = _chosen(study, out)
    return [
        {
            "method": base_method(study, trial),
            "settings": json.dumps(dict(trial.settings), sort_keys=True),
            "accuracy": trial_score(out, trial),
            "chosen": dict(trial.settings) == dict(chosen[trial.method]),
            "failed": failure(out, trial) or "",
        }
        for trial in search(study)
    ]


def _size(out: Path, wanted: Sequence[Training]) -> str:
    """Return the size of the networks in words."""
    from rcm_distill import checkpoint

    path = next(weights_of(out, each) for each in wanted if weights_of(out, each).exists())
    count = sum(p.numel() for p in checkpoint.load(path).net.parameters())
    return f"{count / 1e6:.1f} million parameters"
