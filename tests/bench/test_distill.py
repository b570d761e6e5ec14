"""The verb distill: trains, validates on the laboratory's tasks, resumes, names faults."""

import pytest
from PIL import Image

from rcm_bench.errors import UserError
from rcm_bench.verbs.distill import distill
from rcm_distill import checkpoint

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


def test_faults(tmp_path):
    recipe = tmp_path / "tiny.yaml"
    with pytest.raises(UserError, match=r"tiny\.yaml: no such recipe"):
        distill(recipe)
    recipe.write_text(TEACHER.replace("flow_matching", "flow_machting"))
    with pytest.raises(UserError, match="unknown method 'flow_machting'.*Did you mean 'flow_matc"):
        distill(recipe, tmp_path / "out")
    recipe.write_text(TEACHER + "teacher: lab-taecher\n")
    with pytest.raises(UserError, match=r"tiny\.yaml: teacher: unknown weights 'lab-taecher'"):
        distill(recipe, tmp_path / "out")
    with pytest.raises(UserError, match="--max-seconds: expected a positive number, got -1"):
        distill(recipe, tmp_path / "out", max_seconds=-1)
    assert not (tmp_path / "out").exists()
