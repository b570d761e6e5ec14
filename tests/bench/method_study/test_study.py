"""A study's file, its trainings, what they cost, and who counts as converged."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from rcm_bench.method_study import progress
from rcm_bench.method_study.progress import judge
from rcm_bench.method_study.steps import chosen_so_far, known, plan, seconds
from rcm_bench.method_study.study import Rule, bind, load_study
from rcm_bench.method_study.trainings import (
    cost,
    equal_updates,
    finals,
    in_order,
    search,
    write_recipe,
)
from rcm_distill.objectives import dcm, dmd2, meanflow, rcm, scm
from rcm_distill.train import load_recipe
from rcm_distill.train.compute import cost_of
from rcm_distill.train.state import save_state

STUDY = Path(__file__).parents[3] / "suites" / "recipes" / "search" / "methods.yaml"


@pytest.fixture(scope="module")
def study():
    return load_study(STUDY)


def first_settings(study):
    return {name: study.method(name).settings()[0] for name in study.methods}


@pytest.mark.parametrize(
    ("objective", "passes", "updates"),
    [
        # Guided teacher 2, tangent 2, student with gradients 3.
        (scm.Objective(teacher_guidance=4.0), 7, 1),
        (scm.Objective(), 6, 1),
        (meanflow.Objective(teacher_guidance=4.0), 7, 1),
        # Teacher 2 for each of two Euler steps, target 1, student 3.
        (dcm.Objective(teacher_guidance=4.0, skip=2), 8, 1),
        # Student: simulation 0 to 3 and 3, critic 1, teacher 2; critic: 1 to 4 and 3.
        (dmd2.Objective(teacher_guidance=4.0, student_update_freq=4), (7.5 + 3 * 5.5) / 4, 1 / 4),
        (
            rcm.Objective(student_update_freq=2, tangent_warmup=100),
            (7 + 7.5 + 5.5) / 2,
            1 / 2,
        ),
    ],
)
def test_compute_is_counted_as_it_happens(objective, passes, updates):
    found = cost_of(objective)
    assert found.passes == pytest.approx(passes)
    assert found.updates == pytest.approx(updates)
    assert found.iterations(1000) == int(1000 / passes)


def test_budgets_are_equal(study):
    """Every method has as many trials, and spends as much in each training."""
    trials = search(study)
    counts = {name: sum(t.method == name for t in trials) for name in study.methods}
    assert set(counts.values()) == {study.budget.trials}
    jobs = finals(study, first_settings(study))
    for training in jobs:
        found = cost(study, training)
        spent = found.iterations(study.budget.final) * found.passes
        assert study.budget.final - found.passes < spent <= study.budget.final
    names = [training.name for training in jobs]
    assert len(set(names)) == len(names)
    assert sorted(t.seed for t in jobs if t.method == "dmd2") == sorted(study.seeds)
    assert [t.seed for t in jobs if t.method == "dcm"] == [study.seeds[0]]
    assert {t.settings[study.sweep.key] for t in jobs if t.method.startswith("rcm-")} == set(
        study.sweep.values
    )


def test_recipes_are_whole_and_carry_the_settings(study, tmp_path):
    trial = search(study)[7]
    recipe = load_recipe(write_recipe(study, trial, tmp_path, None))
    assert (recipe.recipe, recipe.seed) == (trial.name, study.search_seed)
    for key, value in trial.settings.items():
        part, _, last = key.rpartition(".")
        held = getattr(recipe, part)
        assert (held[last] if part == "objective" else getattr(held, last)) == value
    final = finals(study, first_settings(study))[0]
    recipe = load_recipe(write_recipe(study, final, tmp_path, 99))
    assert recipe.snapshots == (99,)
    assert recipe.steps // recipe.validate_every == study.validations


def test_the_plan_says_what_it_costs(study):
    lines = plan(study)
    assert len(lines) == 2 + len(search(study)) + len(finals(study, first_settings(study)))
    assert "hours of one H100" in lines[-1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials: 6", "trials: 5", "methods.rcm: space: 6 points, expected 5"),
        ("  dcm:", "  dcn:", "unknown method 'dcn'"),
        ("central: [rcm, scm, dmd2]", "central: [rcm, sid]", "'sid' is not among the methods"),
        ("points: 6", "points: 1", "points must be at least 2"),
        (
            "data: {num_images: 500000, seed: 101}",
            "data: {file: pairs.safetensors, sha256: y}",
            "data: a study renders its scenes, expected num_images, got file: pairs.safetensors",
        ),
        ("search_seed: 7", "search_seed: 11", "seeds must differ"),
        ("student.lr: [1.0e-4, 3.0e-4, 6.0e-4]", "student.lr: 3.0e-4", "expected a list of values"),
        ("validations: 12", "validation: 12", "unknown key 'validation'.*'validations'"),
    ],
)
def test_faults_name_file_and_key(tmp_path, old, new, message):
    text = STUDY.read_text()
    assert old in text
    path = tmp_path / "study.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=f"study.yaml.*{message}"):
        load_study(path)


def test_a_wrong_setting_of_a_space_is_named(tmp_path, study):
    values = yaml.safe_load(STUDY.read_text())
    values["methods"]["dcm"]["space"]["objective.num_step"] = values["methods"]["dcm"]["space"].pop(
        "objective.num_steps"
    )
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    wrong = load_study(path)
    with pytest.raises(ValueError, match="dcm-trial0: objective: unknown key 'num_step'"):
        cost(wrong, next(trial for trial in search(wrong) if trial.method == "dcm"))


RULE = Rule(window=0.5, gain=0.02, points=4, least=0.1)


def curve(accuracies, steps=100):
    at = np.linspace(steps / max(1, len(accuracies)), steps, len(accuracies))
    return pd.DataFrame({"step": at, "accuracy": accuracies})


@pytest.mark.parametrize(
    ("curves", "converged", "reason"),
    [
        ([curve([0.1, 0.5, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8])], True, r"converged: [+-]0.000"),
        ([curve([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])], False, "still rising by 0.400"),
        ([curve([0.8] * 4 + [0.8, 0.75, 0.7, 0.65])], False, "still falling by 0.160"),
        ([curve([0.0] * 8)], False, "0.000 right at the end, 0.1 is the least"),
        ([curve([0.8] * 4)], False, "3 validations at the end, 4 are needed"),
        ([curve([0.8] * 8, steps=90)], False, "did not reach its end"),
        ([curve([0.8] * 8), curve([])], False, "did not reach its end"),
        # Two seeds that move apart by as much are flat together.
        ([curve([0.8] * 8), curve([0.5] * 8)], True, "converged"),
    ],
)
def test_convergence_is_a_rule(curves, converged, reason):
    import re

    found = judge(curves, 100, RULE)
    assert found.converged == converged
    assert re.search(reason, found.reason)


def test_the_search_chooses_the_best_end_and_waits_for_all(study, tmp_path, monkeypatch):
    ends = {"rcm-trial3": 0.9, "rcm-trial5": 0.9, "scm-trial2": 0.1}
    done = {trial.name for trial in search(study)} - {"dcm-trial5"}
    monkeypatch.setattr(progress, "is_done", lambda out, trial: trial.name in done)
    monkeypatch.setattr(progress, "curve", lambda out, t: curve([0.99, ends.get(t.name, 0.0)]))
    chosen = chosen_so_far(study, tmp_path)
    assert chosen["rcm"] == study.method("rcm").settings()[3], "the first of equals"
    assert chosen["scm"] == study.method("scm").settings()[2]
    assert "dcm" not in chosen, "the search chooses among equal budgets"
    done.add("dcm-trial5")
    broken = tmp_path / "trainings" / "rcm-trial3"
    broken.mkdir(parents=True)
    (broken / "diverged.txt").write_text("diverged\n")
    chosen = chosen_so_far(study, tmp_path)
    assert chosen["dcm"] == study.method("dcm").settings()[0], "nothing right: the first"
    assert chosen["rcm"] == study.method("rcm").settings()[3], "what was chosen stays chosen"
    (tmp_path / "chosen.json").unlink()
    assert chosen_so_far(study, tmp_path)["rcm"] == study.method("rcm").settings()[5]


def test_the_claims_come_first(study, tmp_path, monkeypatch):
    """Search and finals of the central methods, two seeds, the sweep, the third; then the rest."""
    stages = []
    for one in in_order(study, first_settings(study)):
        kind = "sweep" if one.method not in study.methods else one.stage
        key = (one.method in study.central, kind, one.seed if kind == "final" else None)
        if key not in stages:
            stages.append(key)
    eleven, twelve, thirteen = study.seeds
    assert stages == [
        *((True, "search", None), (True, "final", eleven), (True, "final", twelve)),
        *((False, "sweep", None), (True, "final", thirteen)),
        *((False, "search", None), (False, "final", eleven)),
    ]
    done = {f"rcm-trial{n}" for n in range(6)}
    monkeypatch.setattr(progress, "is_done", lambda out, trial: trial.name in done)
    monkeypatch.setattr(progress, "curve", lambda out, trial: curve([0.5]))
    names = [training.name for training in known(study, tmp_path)]
    assert "rcm-seed11" in names, "its own search has ended"
    assert "scm-seed11" not in names
    assert names.index("scm-trial0") < names.index("rcm-seed11") < names.index("meanflow-trial0")


def test_copies_at_equal_updates_are_reached_whatever_is_chosen(study):
    """Decided before the search: the finals of one method begin before another's search ends."""
    updates = equal_updates(study)
    least = []
    for name in study.methods:
        for settings in study.method(name).settings():
            found = cost(study, finals(study, {name: settings})[0])
            least.append(int(found.iterations(study.budget.final) * found.updates))
    assert updates == min(least)
    assert min(least) < max(least)


def test_a_folder_is_of_one_study(study, tmp_path):
    bind(study, tmp_path)
    bind(load_study(STUDY), tmp_path)
    with pytest.raises(ValueError, match="holds trainings of another study"):
        bind(dataclasses.replace(study, validations=study.validations + 1), tmp_path)


def test_what_is_left_of_a_training_is_what_counts(study, tmp_path):
    trial = search(study)[0]
    whole = seconds(study, tmp_path, trial)
    steps = cost(study, trial).iterations(study.budget.search)
    path = tmp_path / "trainings" / trial.name / "state.safetensors"
    save_state(path, {}, {"step": steps // 2})
    assert seconds(study, tmp_path, trial) - 3 == pytest.approx((whole - 3) / 2, rel=0.01)
