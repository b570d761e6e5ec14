"""The laboratory's scorer on rendered scenes: four scores an image, from one reading."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from rcm_bench.benchmarks import detail, diversity, geneval, latency
from rcm_bench.canonical import canonical_json
from rcm_bench.errors import UserError
from rcm_bench.scorers.lab import METRICS, Scorer
from rcm_bench.suite_faults import validate
from rcm_bench.types import SampleRef
from rcm_distill.lab.grammar import Prompt, parse
from rcm_distill.lab.render import render, to_uint8
from rcm_distill.lab.world import sample_scenes

TEXTS = (
    "a photo of a star",
    "a photo of a circle and a moon",
    "a photo of three hearts",
    "a photo of a red square",
    "a photo of a ring left of a cross",
    "a photo of a blue triangle and a white star",
)


def refs(folder, pictures):
    """Write pictures; return one sample for each (prompt text, array)."""
    made = []
    for i, (text, array) in enumerate(pictures):
        path = folder / f"{i}.png"
        Image.fromarray(array).save(path)
        made.append(
            SampleRef(
                sample_key=str(i), item_id=str(i), digest=str(i), path=path, prompt=text, task=""
            )
        )
    return made


def score(folder, pictures):
    found = {}
    for made in Scorer()(refs(folder, pictures)):
        found.setdefault(made.sample_digest, {})[made.metric] = made
    return [found[str(i)] for i in range(len(pictures))]


@pytest.fixture(scope="module")
def images():
    seed = int(np.random.default_rng().integers(2**31))
    print("seed", seed)
    prompts: list[Prompt] = [parse(text) for text in TEXTS for _ in range(4)]
    return to_uint8(render(sample_scenes(prompts, torch.Generator().manual_seed(seed))))


def test_clean_renders_are_right_sharp_and_diverse(images, tmp_path) -> None:
    found = score(tmp_path, list(zip(np.repeat(TEXTS, 4), images, strict=True)))
    assert all(tuple(own) == METRICS for own in found)
    # At least 99.5 % of clean scenes are read back: five of 24 wrong is about 1 in 10 million.
    assert sum(own["correct"].value for own in found) >= 20
    assert np.median([own["psnr"].value for own in found]) > 45
    assert np.median([own["sharpness"].value for own in found]) == pytest.approx(1, abs=0.02)
    slots = [own["scene"].details["slots"] for own in found]
    assert [len(own) for own in slots[::4]] == [1, 2, 3, 1, 2, 2]
    assert sum(None in own for own in slots) <= 2


def test_details_are_plain_json_with_named_boxes(images, tmp_path) -> None:
    (own,) = score(tmp_path, [(TEXTS[3], images[12])])
    for made in own.values():
        canonical_json(dict(made.details))
    box = own["correct"].details["boxes"][0]
    assert len(box) == 6
    assert box[5] == "red square"
    assert own["scene"].details["truth"]["color"] is None
    assert json.loads(json.dumps(own["correct"].details))["correct"] is True


def test_a_wrong_picture_has_geneval_reasons(images, tmp_path) -> None:
    (own,) = score(tmp_path, [("a photo of a blue square", images[12])])
    assert own["correct"].value == 0.0
    assert own["correct"].reason == "expected blue square>=1, found 0 blue; and 1 red"
    (own,) = score(tmp_path, [("a photo of two moons", images[12])])
    assert own["correct"].reason == "expected moon>=2, found 0"
    assert own["scene"].details["slots"] == [None, None]


def test_noise_and_blur_are_seen(images, tmp_path) -> None:
    noise = np.random.default_rng(0).normal(0, 12, images[0].shape)
    noisy = np.clip(images[0] + noise, 0, 255).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(images[0]).resize((20, 20)).resize((40, 40)))
    clean, rough, soft = score(tmp_path, [(TEXTS[0], x) for x in (images[0], noisy, blurred)])
    assert rough["psnr"].value < clean["psnr"].value - 10
    assert soft["psnr"].value < clean["psnr"].value - 5
    assert rough["sharpness"].value > 1.5 > 0.9 > soft["sharpness"].value


def test_what_cannot_be_scored_says_why(images, tmp_path) -> None:
    big = np.zeros((64, 48, 3), np.uint8)
    first, second, third = score(
        tmp_path, [(TEXTS[0], big), (TEXTS[0], images[0]), ("a photo of a dog", images[0])]
    )
    assert {made.value for made in first.values()} == {None}
    assert first["psnr"].reason == "expected an image of 40x40 px, got 48x64"
    assert second["psnr"].value is not None
    assert third["psnr"].value is not None
    assert third["correct"].value is None
    assert "not a prompt of the laboratory" in third["correct"].reason


def test_a_blank_picture_is_scored(tmp_path) -> None:
    (own,) = score(tmp_path, [(TEXTS[0], np.full((40, 40, 3), 128, np.uint8))])
    assert own["correct"].value == 0.0
    assert own["scene"].details["slots"] == [None]


def test_three_benchmarks_share_one_scorer() -> None:
    scorers = [b.Benchmark().scorer() for b in (geneval, diversity, detail)]
    keys = {canonical_json([s.name, s.version, s.settings()]) for s in scorers}
    assert len(keys) == 1
    assert latency.Benchmark().scorer() is None


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        (geneval, {"detectr": "lab"}, "unknown key 'detectr'"),
        (geneval, {"detector": "mask2former"}, "expected 'lab', got 'mask2former'"),
        (detail, {"psnr": True}, "unknown key 'psnr'"),
    ],
)
def test_settings_are_read_strictly(module, settings, message) -> None:
    with pytest.raises(UserError, match=message):
        validate(module.Benchmark, settings, lambda at: "x.yaml:3", ("benchmarks", "b"))


@pytest.mark.parametrize("module", [geneval, diversity, detail, latency])
def test_every_benchmark_has_one_headline_and_its_own_name(module) -> None:
    benchmark = module.Benchmark()
    assert benchmark.name == module.__name__.rpartition(".")[2]
    assert sum(info.headline for info in benchmark.metrics.values()) == 1
    assert all(info.about.endswith(".") for info in benchmark.metrics.values())
