"""The laboratory's model: exact evaluations, samples that do not depend on the batch, bad files."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from rcm_bench.errors import UserError
from rcm_bench.models.lab import Model
from rcm_bench.prepare import prepare
from rcm_bench.suite import ConsistencySampler, EulerSampler, HeunSampler
from rcm_bench.suite_load import load_suite
from rcm_bench.types import ModelContext, PromptRecord
from rcm_bench.verbs.run import run
from rcm_distill import checkpoint
from rcm_distill.lab.grammar import VOCAB_SIZE
from rcm_distill.nets.dit import DiT, DiTConfig

SUITE = """\
suite: small
models:
  teacher: {kind: lab, role: teacher, sampler: flow, weights: net.safetensors, steps: [2]}
  student: {kind: lab, sampler: few, weights: net.safetensors}
samplers:
  flow: {kind: euler, guidance: 3.0, shift: 3.0}
  few: {kind: consistency}
steps: [1, 2]
prompts: {set: lab, per_task: 2, samples_per_prompt: 2}
benchmarks: {geneval: {}, detail: {}}
run: {batch_size: 8}
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tiny network with random weights, none of them zero."""
    seed = random.randrange(2**31)
    print(f"seed {seed}")
    torch.manual_seed(seed)
    config = DiTConfig(vocab_size=VOCAB_SIZE, width=32, depth=1, num_heads=2, text_depth=1)
    net = DiT(config)
    state = {
        name: value + 0.1 * torch.randn_like(value) for name, value in net.state_dict().items()
    }
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    checkpoint.save(path, state, config, {"recipe": "none"}, dtype=torch.float32)
    return path


@pytest.fixture
def small(weights):
    path = weights.parent / "small.yaml"
    path.write_text(SUITE)
    return path


def model_of(weights, sampler):
    context = ModelContext(place="x.yaml:3: models.net", folder=weights.parent)
    model = Model(Model.Settings(weights=weights.name), sampler, context)
    model.load("cpu")
    return model


SAMPLERS = [
    EulerSampler(kind="euler"),
    EulerSampler(kind="euler", guidance=3.0, shift=3.0),
    HeunSampler(kind="heun", guidance=2.0),
    ConsistencySampler(kind="consistency"),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@pytest.mark.parametrize("steps", [1, 4])
def test_contract(sampler, steps, weights, small):
    model = model_of(weights, sampler)
    items = prepare(load_suite(str(small), {})).plan.items[:8]
    items = [replace(item, steps=steps) for item in items]
    whole = list(model.generate(items))
    again = list(model.generate(items))
    alone = [next(iter(model.generate([item]))) for item in items]
    for media in whole:
        assert media.array.shape == (40, 40, 3) and media.array.dtype == np.uint8
        assert media.nfe == model.evaluations(steps)
        assert media.finite and media.seconds["sample"] > 0
    assert all((a.array == b.array).all() for a, b in zip(whole, again, strict=True))
    one = np.stack([media.array for media in whole]).astype(int)
    eight = np.stack([media.array for media in alone]).astype(int)
    difference = np.abs(one - eight)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01
    # Different seeds and prompts give different pictures.
    assert len({media.array.tobytes() for media in whole}) == len(items)


def test_nonfinite_values_are_flagged(weights, small):
    model = model_of(weights, SAMPLERS[0])
    torch.nn.init.constant_(model._loaded.net.patch_out.bias, float("nan"))
    media = next(iter(model.generate(prepare(load_suite(str(small), {})).plan.items[:1])))
    assert not media.finite and (media.array == 0).all()


def test_batch_size_changes_samples_by_rounding_only(weights, small, tmp_path):
    run(str(small), tmp_path / "eight")
    other = weights.parent / "one.yaml"
    other.write_text(SUITE.replace("batch_size: 8", "batch_size: 1"))
    run(str(other), tmp_path / "one")
    from rcm_bench.finish import open_run
    from rcm_bench.media import decode

    a, b = (open_run(tmp_path / name) for name in ("eight", "one"))
    first, second = a.store.index().samples, b.store.index().samples
    assert first.keys() == second.keys() and len(first) == 12 * 2 * 3
    worst = 0
    for key in first:
        one, two = (
            decode(r.store.blobs.path(s[key]["blob"])) for r, s in ((a, first), (b, second))
        )
        worst = max(worst, int(np.abs(one.astype(int) - two.astype(int)).max()))
    assert worst <= 1


def test_faulty_weights(weights, small, tmp_path):
    data = weights.read_bytes()

    def fault(content, name="net.safetensors"):
        (tmp_path / "net.safetensors").write_bytes(content)
        (tmp_path / "small.yaml").write_text(SUITE.replace("net.safetensors", name, 1))
        with pytest.raises(UserError) as caught:
            run(str(tmp_path / "small.yaml"), tmp_path / "out")
        assert not list(tmp_path.glob("out/records/*"))
        return str(caught.value).replace(str(tmp_path), "DIR")

    place = "DIR/small.yaml:3: models.teacher.weights: "
    half = len(data) // 2
    assert fault(data[:half]) == (
        f"{place}DIR/net.safetensors: expected {len(data)} bytes as its header says, "
        f"got {half}; the file is truncated or damaged"
    )
    assert "its header is cut off or it is another format (100 bytes)" in fault(data[:100])
    assert "expected a safetensors file" in fault(b"")
    assert "expected a safetensors file" in fault(b"\x80\x02pickle" * 100)
    assert "cannot" not in fault(data, "lost.safetensors")
    assert fault(data, "lost.safetensors").startswith(
        f"{place}lost.safetensors: no such file, neither in DIR nor in "
    )
    assert fault(data, "lab-teachr").startswith(f"{place}unknown weights 'lab-teachr'. Available: ")

    state, config = torch.nn.Linear(2, 2).state_dict(), checkpoint.load(weights).config
    checkpoint.save(tmp_path / "odd.safetensors", state, config, {})
    text = fault((tmp_path / "odd.safetensors").read_bytes())
    assert text.startswith(f"{place}DIR/net.safetensors: weights do not fit their architecture")


def test_prompts_and_grids_that_the_lab_does_not_have(weights):
    model = model_of(weights, ConsistencySampler(kind="consistency"))
    prompt = PromptRecord(prompt_id="00000-x", text="a photo of a squre", task="prompt")
    with pytest.raises(
        UserError, match="models.net: cannot draw prompt 00000-x: .*'squre'.*square"
    ):
        model.check([prompt], [1])
    with pytest.raises(
        UserError, match="models.net: sampler at 7 steps: preset 'paper' has no grid"
    ):
        model.check([], [1, 7])
    own = ConsistencySampler(kind="consistency", times={"2": [1.0], "3": [1.0]})
    model_of(weights, own).check([], [2])
    with pytest.raises(UserError, match="at 3 steps: expected 2 times after the first"):
        model_of(weights, own).check([], [3])
