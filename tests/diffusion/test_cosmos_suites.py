"""The shipped Cosmos-Predict2 suites from plan to report, with tiny random checkpoints."""

import json
import os

import numpy as np
import pytest
import tiny_models
from PIL import Image

import rcm_bench
from rcm_bench.canonical import file_digest
from rcm_bench.diffusion import engine
from rcm_bench.diffusion.decode import encode_image
from rcm_bench.diffusion.families import COSMOS
from rcm_bench.errors import UserError
from rcm_bench.prepare import prepare
from rcm_bench.store import RunStore
from rcm_bench.suite_load import load_suite
from rcm_bench.vbench import prompts
from rcm_bench.vbench.dimensions import I2V_GROUPS

SMALL = {"resolution": [32, 32], "dtype": "float32", "text_dtype": "float32", "max_tokens": 16}
PROMPTS = ["a photo of a cat", "two dogs on the beach"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("rcm_reports.write_plots", lambda report, out: [])
    monkeypatch.setattr("rcm_reports.render", lambda report, out: out / "index.html")
    monkeypatch.setattr("rcm_bench.timing.ROUNDS", 1)


def small(name, folder, **changes):
    """Write a shipped suite with tiny sizes; models, samplers and grid stay as they are."""
    known = {name: os.environ[name] for name in ["RCM_BENCH_I2V_IMAGES"] if name in os.environ}
    data = load_suite(name, known).data
    for entry in data["models"].values():
        entry |= SMALL | changes
        entry["steps"] = entry["steps"] and [3]
        if entry.get("frames", 1) > 1:
            entry["frames"] = 5
    data |= {"benchmarks": {"latency": {}}, "extends": None, "variables": {}, "published": []}
    data["prompts"] = {"file": "prompts.txt", "samples_per_prompt": 1}
    data["models"] = {
        name: {key: value for key, value in entry.items() if value is not None}
        for name, entry in data["models"].items()
    }
    (folder / "prompts.txt").write_text("\n".join(PROMPTS))
    path = folder / "small.yaml"
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))
    return path


def made(folder):
    return RunStore.open(folder).index().samples.values()


@pytest.mark.parametrize(("name", "weights", "sigma_max", "missing"), [
    ("geneval_cosmos_0.6b", "nvidia/Cosmos-Predict2-2B-Text2Image at acdb5fde992a", 80,
     ["models.teacher.transformer: cosmos-predict2-0.6b-text2image.safetensors: no such file "
      "(about 1.2 GB", "models.student.transformer: rcm-cosmos-0.6b.safetensors"]),
    ("geneval_cosmos_14b", "nvidia/Cosmos-Predict2-14B-Text2Image at 015332720f70", 800,
     ["models.student.transformer: rcm-cosmos-14b.safetensors: no such file (about 28.5 GB"]),
])  # fmt: skip
def test_plans_of_the_other_sizes(name, weights, sigma_max, missing):
    found = rcm_bench.plan(name)
    assert found.counts["num_items"] == 4 * 553 * 4
    assert found.missing[0].startswith(f"{weights} is not on this machine")
    for said, expected in zip(found.missing[1 : 1 + len(missing)], missing, strict=True):
        assert expected in said
    assert load_suite(name, {}).suite.samplers["rcm"]["sigma_max"] == sigma_max


@pytest.mark.parametrize("name", ["geneval_cosmos", "geneval_cosmos_0.6b", "geneval_cosmos_14b"])
def test_text_to_image_end_to_end(name, cosmos, tmp_path, monkeypatch):
    """The smallest size lies beside the folder of another; its networks come in as files."""
    import diffusers
    from safetensors.torch import save_file

    config = json.loads(json.dumps(tiny_models.cosmos_config(16)))
    if name == "geneval_cosmos_0.6b":
        config |= {"num_layers": 1, "num_attention_heads": 3}
    monkeypatch.setitem(COSMOS.architectures, "0.6B-Text2Image", config)
    path = small(name, tmp_path, weights=str(cosmos[0]))
    for entry in load_suite(str(path)).suite.models.values():
        if file := entry.settings().get("transformer"):
            net = tiny_models.randomized(diffusers.CosmosTransformer3DModel(**config))
            save_file(net.state_dict(), tmp_path / file)
    assert rcm_bench.plan(str(path)).missing == []
    assert rcm_bench.run(str(path), tmp_path / "run").done
    assert sorted(r["nfe"] for r in made(tmp_path / "run")) == [1, 1, 2, 2, 4, 4, 6, 6]
    assert all(r["flags"] == [] for r in made(tmp_path / "run"))
    for model in prepare(load_suite(str(path))).models.values():
        assert (
            model.identity()["architecture"]["num_attention_heads"]
            == (config["num_attention_heads"])
        )


def student(pipe, folder):
    from safetensors.torch import save_file

    net = tiny_models.randomized(type(pipe.transformer)(**pipe.transformer.config))
    save_file(net.state_dict(), folder / "rcm-cosmos-2b-video.safetensors")


def test_text_to_video_end_to_end(cosmos_video, tmp_path):
    """No frame is known: the Video2World network from noise alone."""
    student(cosmos_video[1], tmp_path)
    path = small("vbench_cosmos", tmp_path, weights=str(cosmos_video[0]))
    assert rcm_bench.plan(str(path)).missing == []
    assert rcm_bench.run(str(path), tmp_path / "run").done
    assert {r["blob"][-4:] for r in made(tmp_path / "run")} == {".mp4"}
    assert sorted(r["nfe"] for r in made(tmp_path / "run")) == [1, 1, 2, 2, 4, 4, 6, 6]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """VBench-I2V's files in small: two prompts, two photographs of another size."""
    rows = [
        {"prompt_en": prompt, "image_name": f"{prompt}.jpg", "image_type": "indoor",
         "dimension": list(I2V_GROUPS[0][1])} for prompt in PROMPTS
    ]  # fmt: skip
    info = tmp_path / "info.json"
    info.write_text(json.dumps(rows))
    monkeypatch.setattr(prompts, "I2V_SHA256", file_digest(info))
    crop = tmp_path / "data" / "crop" / "16-9"
    crop.mkdir(parents=True)
    for shade, prompt in zip((40, 200), PROMPTS, strict=True):
        Image.new("RGB", (90, 50), (shade, 0, 255 - shade)).save(crop / f"{prompt}.jpg")
    return info, tmp_path / "data"


def test_image_to_video_end_to_end(cosmos_video, repository, tmp_path, monkeypatch):
    """On VBench-I2V's own prompts: each video begins with the image that its prompt names."""
    info, images = repository
    monkeypatch.setenv("RCM_BENCH_I2V_IMAGES", str(images))
    student(cosmos_video[1], tmp_path)
    path = small("i2v_cosmos", tmp_path, weights=str(cosmos_video[0]))
    data = json.loads(path.read_text())
    data["prompts"] = {"set": "vbench_i2v", "info": str(info), "samples_per_prompt": 1}
    path.write_text(json.dumps(data))
    began = []

    def encoded(vae, frame):
        began.append(frame)
        return encode_image(vae, frame)

    monkeypatch.setattr(engine, "encode_image", encoded)
    assert rcm_bench.plan(str(path)).missing == []
    assert rcm_bench.run(str(path), tmp_path / "run").done
    videos = list(made(tmp_path / "run"))
    assert {r["blob"][-4:] for r in videos} == {".mp4"} and len(videos) == 2 * 4
    assert {frame.shape for frame in began} == {(32, 32, 3)}
    for shade in (40, 200):
        own = [f for f in began if np.abs(f.astype(int) - [shade, 0, 255 - shade]).max() <= 4]
        assert len(own) == len(began) / 2
    before = [
        model.identity()["images"] for model in prepare(load_suite(str(path))).models.values()
    ]
    prepared = prepare(load_suite(str(path)))
    for prompt in prepared.plan.prompts:
        frames = {model.first_frame(prompt.prompt_id) for model in prepared.models.values()}
        assert frames == {images / "crop" / "16-9" / f"{prompt.text}.jpg"}
    Image.new("RGB", (90, 50), (0, 90, 0)).save(images / "crop" / "16-9" / f"{PROMPTS[0]}.jpg")
    for model, digest in zip(prepare(load_suite(str(path))).models.values(), before, strict=True):
        assert model.identity()["images"] != digest
    whole = images / "crop" / "16-9" / f"{PROMPTS[1]}.jpg"
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="expected an image"):
        rcm_bench.plan(str(path))
    whole.write_bytes(data)
    (images / "crop" / "16-9" / f"{PROMPTS[0]}.jpg").unlink()
    with pytest.raises(UserError, match=rf"1 missing: {PROMPTS[0]}\.jpg"):
        rcm_bench.plan(str(path))


def test_prompts_that_change_lines_are_other_samples(cosmos_video, tmp_path, monkeypatch):
    """Images go by lines: two prompts swapped begin from each other's image."""
    monkeypatch.setenv("RCM_BENCH_I2V_IMAGES", str(tmp_path))
    student(cosmos_video[1], tmp_path)
    path = small("i2v_cosmos", tmp_path, weights=str(cosmos_video[0]))
    data = json.loads(path.read_text())
    for entry in data["models"].values():
        entry["image_folder"] = "frames"
    path.write_text(json.dumps(data))
    (tmp_path / "frames").mkdir()
    for line, shade in enumerate((40, 200)):
        image = Image.new("RGB", (32, 32), (shade, 0, 0))
        image.save(tmp_path / "frames" / f"{line:05d}.png")

    def keys(prompts):
        (tmp_path / "prompts.txt").write_text("\n".join(prompts))
        items = prepare(load_suite(str(path))).plan.items
        return {(item.model, item.steps, item.prompt): item.sample_key for item in items}

    one, same, other = keys(PROMPTS), keys(PROMPTS), keys(PROMPTS[::-1])
    assert one == same and one.keys() == other.keys()
    assert all(one[sample] != other[sample] for sample in one)


def test_the_shipped_suite_scores_vbench_i2v(monkeypatch):
    monkeypatch.setenv("RCM_BENCH_I2V_IMAGES", "somewhere")
    suite = load_suite("i2v_cosmos").suite
    assert suite.prompts.set == "vbench_i2v" and "vbench_i2v" in suite.benchmarks
    folders = {entry.settings()["image_folder"] for entry in suite.models.values()}
    assert folders == {"somewhere/crop/16-9"}
