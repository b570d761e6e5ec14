import dataclasses
from pathlib import Path

import pytest

from rcm_distill.ema import Constant, HalfLife
from rcm_distill.objectives.presets import preset
from rcm_distill.train import load_recipe
from rcm_distill.train.recipe import objective

RECIPES = sorted((Path(__file__).parents[3] / "suites" / "recipes").glob("*.yaml"))
GOOD = """
recipe: x
about: a test
method: flow_matching
data: {num_images: 8}
student: {lr: 1.0e-3}
steps: 4
batch_size: 2
"""


def written(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_committed_recipes_are_whole(path):
    recipe = load_recipe(path)
    assert recipe.recipe == path.stem.replace("_", "-")


def test_there_are_recipes():
    assert {p.stem for p in RECIPES} >= {
        "lab_teacher",
        "lab_rcm",
        "lab_scm",
        "lab_dmd2",
        "lab_meanflow",
        "lab_dcm",
    }


def test_a_good_recipe_reads(tmp_path):
    recipe = load_recipe(written(tmp_path, GOOD))
    assert recipe.student.lr == 1e-3
    assert recipe.ema == (0.05,)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps: 4", "stpes: 4", "unknown key 'stpes'.*Did you mean 'steps'"),
        ("steps: 4\n", "", "'steps' is missing"),
        ("steps: 4", "steps: four", "steps: expected int, got 'four'"),
        ("steps: 4", "steps: true", "steps: expected int, got True"),
        ("steps: 4", "steps: 0", "must be at least 1"),
        ("steps: 4", "steps: 4\naccumulate: 0", "accumulate must be at least 1"),
        ("steps: 4", "steps: 4\nsave_every: -1", "save_every must not be negative, got -1"),
        ("steps: 4", "steps: 4\nema: [0.5]", r"ema: length must be in \(0, 0.28\), got 0.5"),
        ("steps: 4", "steps: 4\nema: [a]", r"ema\[0\]: expected float, got 'a'"),
        ("steps: 4", "steps: 4\nema: [{law: half}]", "unknown law 'half'.*mean 'half_life'"),
        ("steps: 4", "steps: 4\nema: [{law: constant, decay: 2.0}]", "decay must be in"),
        ("num_images: 8", "num_images: 0", "data: num_images must be at least 1, got 0"),
        ("num_images: 8", "seed: 8", "data: give either num_images or file"),
        ("num_images: 8", "num_images: 8, file: x, sha256: y", "give either num_images or file"),
        ("num_images: 8", "file: pairs.safetensors", "file and sha256 belong together"),
        ("flow_matching", "scm", "'teacher' is missing: method scm needs one"),
        ("method: flow_matching", "method: rcm\nteacher: t", "'critic' is missing: method rcm"),
        (
            "flow_matching",
            "flow_match",
            "unknown method 'flow_match'.*Did you mean 'flow_matching'",
        ),
        ("lr: 1.0e-3", "lr: 1.0e-3, decay: cosin", "decay: unknown value 'cosin'"),
        ("lr: 1.0e-3", "lr: 1.0e-3, betas: [0.9]", "betas: expected 2 values, got 1"),
        ("data: {num_images: 8}", "data: 8", "data: expected a mapping, got 8"),
        ("method: flow_matching", "method: [", "not a YAML file"),
    ],
)
def test_faults_name_file_key_and_nearest(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message) as fault:
        load_recipe(written(tmp_path, GOOD.replace(old, new)))
    assert "x.yaml" in str(fault.value)


PRESET = """
recipe: x
about: a test
method: rcm
teacher: t
objective: {preset: rcm@20207e5 wan-1.3b, teacher_guidance: 2.0}
data: {num_images: 8}
student: {lr: 1.0e-3}
critic: {lr: 1.0e-3}
steps: 4
batch_size: 2
"""


def test_averages_of_every_law_read(tmp_path):
    text = (
        GOOD + "ema: [0.1, {law: constant, decay: 0.99, start: 200}, {law: half_life, updates: 9}]"
    )
    assert load_recipe(written(tmp_path, text)).ema == (
        *(0.1, Constant(decay=0.99, start=200), HalfLife(updates=9.0)),
    )


def test_a_recipe_starts_from_a_preset(tmp_path):
    loss = objective(load_recipe(written(tmp_path, PRESET)))
    published = preset("rcm@20207e5 wan-1.3b").objective
    assert loss == dataclasses.replace(published, teacher_guidance=2.0)
    assert loss.warm_up == "rcm@20207e5"
    for old, new, message in (
        ("20207e5", "20207e6", "objective: unknown preset.*Did you mean 'rcm@20207e5 wan-1.3b'"),
        ("method: rcm", "method: scm", "preset 'rcm@20207e5 wan-1.3b' is of method 'rcm', not"),
        ("teacher_guidance", "teacher_guidence", "Did you mean 'teacher_guidance'"),
    ):
        with pytest.raises(ValueError, match=message):
            load_recipe(written(tmp_path, PRESET.replace(old, new)))


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.yaml: no such recipe"):
        load_recipe(tmp_path / "none.yaml")
