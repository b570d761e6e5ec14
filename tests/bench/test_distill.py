"""The verb distill: trains, validates on the laboratory's tasks, resumes, names faults."""

from pathlib import Path

import pytest
from PIL import Image

from rcm_bench.errors import UserError
from rcm_bench.verbs.distill import distill, find_recipe
from rcm_distill import checkpoint
from rcm_distill.train import load_recipe
from rcm_distill.train.recipe import objective

TEACHER = """\
recipe: tiny
about: A network too small to draw anything.
method: flow_matching
objective:
  times: {law: logit_normal, mean: 0.0, std: 1.0}
network: {width: 32, depth: 1, num_heads: 2, mlp_ratio: 2, text_depth: 1}
data: {num_images: 32, seed: 1}
student: {lr: 1.0e-3, warmup: 2}
steps: 3
batch_size: 4
"""


def test_train_and_resume(tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(TEACHER)
    weights = distill(recipe, tmp_path / "out")
    assert weights == tmp_path / "out" / "tiny.safetensors"
    card = checkpoint.read_card(weights)
    assert card["steps"] == 3 and 0 <= card["scores"]["geneval_16_steps"] <= 1
    with Image.open(tmp_path / "out" / "samples" / "0000003.png") as sheet:
        assert sheet.size == (12 * 80, 80)
    assert distill(recipe, tmp_path / "out") == weights


def test_the_shipped_recipe_trains_in_small_on_a_cpu(tmp_path, monkeypatch):
    """lab_rcm_small is lab_rcm but for its size: the same method, found by its name."""
    small, large = (load_recipe(find_recipe(name)) for name in ("lab_rcm_small", "lab_rcm"))
    beside = Path(__file__).parents[2] / "suites" / "recipes" / "lab_rcm.yaml"
    assert beside.samefile(find_recipe("lab_rcm"))
    assert objective(small) == objective(large)
    assert (small.teacher, small.ema) == (large.teacher, large.ema)
    assert small.steps * small.batch_size < 1e-4 * large.steps * large.batch_size
    recipe = tmp_path / "small.yaml"
    text = find_recipe("lab_rcm_small").read_text()
    recipe.write_text(
        text.replace("steps: 10", "steps: 2").replace("batch_size: 4", "batch_size: 1")
    )
    monkeypatch.setattr("rcm_bench.validation.Validation", lambda **_: None)
    card = checkpoint.read_card(distill(recipe, tmp_path / "out"))
    assert (card["steps"], card["student_updates"], card["hardware"]) == (2, 1, "cpu")


def test_faults(tmp_path):
    recipe = tmp_path / "tiny.yaml"
    with pytest.raises(UserError, match=r"tiny\.yaml: no such recipe, and unknown recipe 'tiny'"):
        distill(recipe)
    with pytest.raises(UserError, match="Did you mean 'lab_rcm'"):
        distill("recipes/lab-rcm.yaml")
    recipe.write_text(TEACHER.replace("flow_matching", "flow_machting"))
    with pytest.raises(UserError, match="unknown method 'flow_machting'.*Did you mean 'flow_matc"):
        distill(recipe, tmp_path / "out")
    recipe.write_text(TEACHER + "teacher: lab-taecher\n")
    with pytest.raises(UserError, match=r"tiny\.yaml: teacher: unknown weights 'lab-taecher'"):
        distill(recipe, tmp_path / "out")
    with pytest.raises(UserError, match="--max-seconds: expected a positive number, got -1"):
        distill(recipe, tmp_path / "out", max_seconds=-1)
    assert not (tmp_path / "out").exists()
