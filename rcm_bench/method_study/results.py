"""What a study has found so far: the suite that measures it, and the page that says it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rcm_bench.canonical import digest_of, file_digest
from rcm_bench.method_study import answers, kept, measure, page, tables
from rcm_bench.method_study.progress import (
    Verdict,
    curve,
    failure,
    is_done,
    judge,
    record,
    trial_score,
)
from rcm_bench.method_study.steps import chosen_so_far, final_iterations
from rcm_bench.method_study.study import Study
from rcm_bench.method_study.trainings import (
    Training,
    base_method,
    cost,
    equal_updates,
    finals,
    search,
)
from rcm_bench.weights_files import find_weights


def planned(study: Study, out: Path) -> list[Training]:
    """Return all final trainings; where a search has not ended, with settings of its space."""
    first = {name: study.method(name).settings()[0] for name in study.methods}
    return finals(study, {**first, **chosen_so_far(study, out)})


def measurement(study: Study, out: Path) -> tuple[Path, Path] | None:
    """Write the suite that measures what is trained and was not yet; None where nothing is.

    The teacher is measured along, its samples taken over from an earlier run that is still there.

    Returns:
        The suite, and the folder of its run, which is another one for other trainings.

    Raises:
        ValueError: Weights of a finished training are missing.
    """
    before = {kept.training_of(model) for _, model, _ in measured_before(study, out)}
    done = [
        training
        for training in planned(study, out)
        if is_done(out, training) and training.name not in before
    ]
    if not done:
        return None
    values = measure.suite(study, out, done, equal_updates(study))
    name = digest_of(values)[:8]
    runs = out / "measured"
    others = [run.parent for run in sorted(runs.glob("*/manifest.json")) if run.parent.name != name]
    values["reuse"] = [str(other.resolve()) for other in others]
    return measure.write(values, out / "measure.yaml"), runs / name


def measured_before(study: Study, out: Path) -> measure.Measured:
    """Return what earlier sessions measured of the trainings as they are now.

    Raises:
        ValueError: It is damaged, or was measured by another protocol.
    """
    return kept.kept(out, _protocol(study, out))


def _protocol(study: Study, out: Path) -> dict[str, Any]:
    """Return what is the same for all that is measured, teacher and scorers as they are now."""
    from rcm_bench.prepare import make_benchmarks
    from rcm_bench.scoring import unique_scorers
    from rcm_bench.suite import Suite

    suite = measure.suite(study, out, [], equal_updates(study))
    weights = find_weights(study.teacher, Path.cwd(), "teacher")
    return {
        **measure.protocol(suite),
        "teacher weights": file_digest(weights),
        "scorers": sorted(unique_scorers(make_benchmarks(Suite.model_validate(suite)))),
    }


def report(study: Study, out: Path, run: Path | None, folder: Path) -> None:
    """Write ``README.md``, ``values.csv``, ``comparisons.csv``, ``search.csv`` and ``curves.svg``.

    Args:
        study: The study.
        out: Its folder.
        run: The run of ``measurement``, whose sums are kept in the folder of the study.
        folder: Where the report goes.
    """
    import pandas as pd

    wanted = planned(study, out)
    members: dict[str, list[str]] = {}
    for training in wanted:
        members.setdefault(training.method, []).append(training.name)
    verdicts = {name: _verdict(study, out, wanted, name) for name in members}
    measured = measured_before(study, out)
    if run is not None:
        measured = {**measured, **measure.read_run(run)}
        kept.keep(out, _protocol(study, out), measured)
    found = {
        title: answers.answers(
            measured,
            members,
            verdicts,
            steps=study.measure.steps,
            teacher_steps=study.measure.teacher_steps,
            tail=tail,
        )
        for title, tail in (("at equal compute", ""), ("at equal updates", measure.EQUAL_UPDATES))
    }
    trained = [_trained(study, out, training) for training in wanted]
    folder.mkdir(parents=True, exist_ok=True)
    written = (
        (tables.values(trained, measured), "values.csv"),
        (tables.comparisons(found), "comparisons.csv"),
        (pd.DataFrame(_search_rows(study, out)), "search.csv"),
    )
    for table, name in written:
        table.to_csv(folder / name, index=False, float_format="%.5g", lineterminator="\n")
    tables.plot_curves(trained, folder / "curves.svg")
    text = page.readme(
        study,
        trained,
        verdicts,
        found,
        measured,
        trials=[(trial.method, _state(out, trial)) for trial in search(study)],
        snapshot=equal_updates(study),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _verdict(study: Study, out: Path, wanted: Sequence[Training], name: str) -> Verdict:
    own = [training for training in wanted if training.method == name]
    broken = [why for training in own if (why := failure(out, training)) is not None]
    if broken:
        return Verdict(False, float("nan"), f"unconverged: a training diverged: {broken[0]}")
    done = [training for training in own if is_done(out, training)]
    if len(done) < len(own):
        reason = f"not judged: {len(done)} of {len(own)} trainings have run"
        return Verdict(False, float("nan"), reason)
    return judge(
        [curve(out, training) for training in own], final_iterations(study, own[0]), study.converged
    )


def _state(out: Path, training: Training) -> str:
    if failure(out, training) is not None:
        return "diverged"
    return "done" if is_done(out, training) else "not run"


def _trained(study: Study, out: Path, training: Training) -> page.Trained:
    card: Mapping[str, Any] = record(out, training) or {}
    return page.Trained(
        name=training.name,
        method=training.method,
        settings=training.settings,
        searched=base_method(study, training) in chosen_so_far(study, out),
        passes=cost(study, training).passes,
        steps=int(card.get("steps", 0)),
        updates=int(card.get("student_updates", 0)),
        seconds=float(card.get("seconds", float("nan"))),
        hardware=str(card.get("hardware", "-")),
        curve=curve(out, training),
        failed=failure(out, training),
    )


def _search_rows(study: Study, out: Path) -> list[dict[str, Any]]:
    chosen = chosen_so_far(study, out)
    rows = []
    for trial in search(study):
        state = _state(out, trial)
        row = {
            "method": base_method(study, trial),
            "settings": json.dumps(dict(trial.settings), sort_keys=True),
            "state": state,
            "accuracy": float("nan") if state == "not run" else trial_score(out, trial),
            "chosen": dict(trial.settings) == chosen.get(trial.method),
            "why": failure(out, trial) or "",
        }
        rows.append(row)
    return rows
