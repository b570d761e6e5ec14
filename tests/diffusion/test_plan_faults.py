"""Every wrong input has its message at the plan, before anything is loaded."""

import json
import re
import shutil

import pytest
from tiny_models import model_of

from rcm_bench.errors import UserError
from rcm_bench.suite import ConsistencySampler, EulerSampler, RcmSampler, SchedulerSampler
from rcm_bench.types import PromptRecord

SAMPLER = RcmSampler(kind="rcm")
HUB = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
REVISION = "0fad780a534b6463e45facd96134c9f345acfa5b"


def said(*arguments, **changes):
    with pytest.raises(UserError) as caught:
        model_of(*arguments, **changes)
    assert str(caught.value).startswith("x.yaml:3: models.net.")
    return str(caught.value).removeprefix("x.yaml:3: models.net.")


@pytest.mark.parametrize(("changes", "expected"), [
    ({"frames": 80, "fps": 16.0},
     "frames: expected 4k + 1 frames, got 80; the nearest are 77 and 81"),
    ({"frames": 81}, "fps: a video needs a frame rate and an image has none; got 81 frames and fps "
                     "None"),
    ({"fps": 16.0}, "fps: a video needs a frame rate and an image has none; got 1 frames and fps "
                    "16.0"),
    ({"resolution": [480, 850]},
     "resolution: expected a width that is a multiple of 16, got 850; the nearest are 848 or 864"),
    ({"resolution": [8, 32]},
     "resolution: expected a height that is a multiple of 16, got 8; the nearest are 16"),
    ({"resolution": [32, 1024]},
     "resolution: 32x1024 with 1 frames lies beyond this model's positions: at most 512x512 with "
     "125 frames"),
    ({"prefix": "net_ema"}, "prefix: belongs to 'transformer', which is not given"),
    ({"architecture": "1.3B"}, "architecture: belongs to 'weights: random', or to a 'transformer' "
                               "of another size than the folder's"),
    ({"architecture": "1.3B", "transformer": "lost.safetensors"},
     "architecture: expected text_dim 32 as the folder's network has, got '1.3B' with 4096"),
    ({"architecture": "2B", "transformer": "lost.safetensors"},
     "architecture: unknown size of Wan2.1 text-to-video '2B'. Available: 1.3B, 14B."),
    ({"image_folder": "."},
     "image_folder: WanPipeline starts from text alone and takes no images"),
])  # fmt: skip
def test_sizes_and_keys(changes, expected, wan):
    assert said("wan", wan[0], SAMPLER, **changes) == expected


def test_another_family(wan, cosmos):
    assert said("wan", cosmos[0], SAMPLER) == (
        f"weights: {cosmos[0]}: expected Wan2.1 text-to-video (WanPipeline), "
        "got Cosmos2TextToImagePipeline"
    )
    assert said("cosmos", wan[0], SAMPLER).endswith(
        "expected Cosmos-Predict2 (Cosmos2TextToImagePipeline or Cosmos2VideoToWorldPipeline), "
        "got WanPipeline"
    )


def test_a_sampler_of_another_kind(wan):
    assert said("wan", wan[0], ConsistencySampler(kind="consistency")) == (
        "sampler: expected a sampler of kind euler, meanflow, rcm, scheduler, unipc, got "
        "'consistency'"
    )
    model = model_of("wan", wan[0], SAMPLER)
    with pytest.raises(UserError, match="sampler at 3000 steps: preset 'paper' has no grid"):
        model.check([], [1, 3000])
    model_of("wan", wan[0], EulerSampler(kind="euler")).check([], [3000])


def test_missing_folders_and_files(wan, tmp_path):
    assert said("wan", tmp_path, SAMPLER).endswith(
        "model_index.json: no such file; expected a pipeline in diffusers' layout"
    )
    assert "no such folder" in said("wan", "nowhere", SAMPLER, folder=tmp_path)
    (lost,) = model_of("wan", wan[0], SAMPLER, transformer="lost.safetensors").missing()
    assert lost.startswith("x.yaml:3: models.net.transformer: lost.safetensors: no such file")
    odd = tmp_path / "student.onnx"
    odd.write_bytes(b"?")
    assert "student.onnx: expected .safetensors, .pt" in said(
        "wan", wan[0], SAMPLER, transformer=str(odd)
    )
    single = tmp_path / "wan.safetensors"
    shutil.copy(wan[0] / "transformer" / "diffusion_pytorch_model.safetensors", single)
    assert said("wan", single, SAMPLER, folder=tmp_path) == (
        "config: wan.safetensors holds weights alone: expected a folder in diffusers' layout, or a "
        "hub id with 'revision', for configurations, tokenizer, scheduler and what the file lacks; "
        "a student's transformer belongs under 'transformer'"
    )


@pytest.fixture
def copy(wan, tmp_path):
    return shutil.copytree(wan[0], tmp_path / "copy")


def test_damaged_files(copy):
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert re.search(r"expected \d+ bytes .* truncated or damaged", said("wan", copy, SAMPLER))
    file.write_bytes(b"<html>not found</html>" * 9)
    assert "expected a safetensors file" in said("wan", copy, SAMPLER)
    file.unlink()
    (copy / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"")
    assert "expected one .safetensors file or several with an index, got diffusion_pytorch_model" \
        ".bin" in said("wan", copy, SAMPLER)  # fmt: skip


def test_parts_that_are_missing(copy):
    shutil.rmtree(copy / "tokenizer")
    assert said("wan", copy, SAMPLER).endswith(
        "tokenizer: expected tokenizer.json or spiece.model, got none"
    )
    config = copy / "transformer" / "config.json"
    config.write_text(json.dumps({"_class_name": "WanTransformer3DModel", "patch_size": [1, 2, 2]}))
    assert said("wan", copy, SAMPLER).endswith(
        "config.json: expected all keys of WanTransformer3DModel, missing num_attention_heads, "
        "attention_head_dim, num_layers, in_channels, out_channels, text_dim"
    )
    config.write_text("{")
    assert "config.json: cannot be read (" in said("wan", copy, SAMPLER)
    shutil.rmtree(copy / "text_encoder")
    assert "text_encoder/config.json: no such file" in said("wan", copy, SAMPLER)


def test_what_decides_a_sample_beside_weights_is_in_its_identity(wan, copy):
    """Tokenizer, latents' mean, the folder's own scheduler: a run must not take another's."""
    before = model_of("wan", copy, SchedulerSampler(kind="scheduler")).identity()
    assert before["scheduler"]["flow_shift"] == 3.0
    plain = model_of("wan", copy, SAMPLER)
    assert "scheduler" not in plain.identity()
    assert plain.digest() == model_of("wan", wan[0], SAMPLER).digest()
    for part, name in (("scheduler", "scheduler_config.json"), ("vae", "config.json"),
                       ("tokenizer", "tokenizer_config.json")):  # fmt: skip
        path = copy / part / name
        content = json.loads(path.read_text()) | {"flow_shift": 5.0}
        path.write_text(json.dumps(content))
        after = model_of("wan", copy, SchedulerSampler(kind="scheduler")).identity()
        assert after != before, part
        before = after
    (copy / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(UserError, match=r"scheduler_config\.json: no such file"):
        model_of("wan", copy, SchedulerSampler(kind="scheduler")).identity()


def test_a_missing_shard(copy):
    index = {"weight_map": {"a": "one.safetensors", "b": "diffusion_pytorch_model.safetensors"}}
    path = copy / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    path.write_text(json.dumps(index))
    assert said("wan", copy, SAMPLER).endswith("transformer: missing one.safetensors")


def test_a_key_missing_in_the_folder_is_found_when_it_is_loaded(copy):
    """Libraries would fill it with random numbers and go on."""
    from safetensors.torch import load_file, save_file
    from tiny_models import item

    file = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    del state["blocks.0.attn1.to_q.weight"]
    save_file(state, file, {"format": "pt"})
    model = model_of("wan", copy, SAMPLER)
    model.load("cpu")
    with pytest.raises(UserError, match=r"1 missing: blocks\.0\.attn1\.to_q\.weight"):
        list(model.generate([item()]))


def test_a_hub_id_needs_a_commit_and_is_never_downloaded(tmp_path):
    assert said("wan", HUB, SAMPLER, folder=tmp_path).startswith(
        f"revision: expected the commit of '{HUB}' on the hub (40 hexadecimal digits), got none"
    )
    model = model_of("wan", HUB, SAMPLER, folder=tmp_path, revision=REVISION)
    assert model.missing() == [
        f"{HUB} at 0fad780a534b is not on this machine (about 14 GB as bfloat16, twice that where "
        f"stored as float32); get it: hf download {HUB} --revision {REVISION} "
        "--exclude '*.pt' '*.pth' 'examples/*'"
    ]
    assert model.identity()["architecture"]["num_layers"] == 30
    with pytest.raises(UserError, match="is not on this machine"):
        model.load("cpu")


def test_a_hub_id_that_is_there(wan, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    name = f"models--{HUB.replace('/', '--')}"
    shutil.copytree(wan[0], tmp_path / name / "snapshots" / REVISION)
    model = model_of("wan", HUB, SAMPLER, folder=tmp_path, revision=REVISION)
    assert model.missing() == []
    assert model.card() == {"source": HUB, "revision": REVISION}
    assert model.digest() == model_of("wan", wan[0], SAMPLER).digest()


@pytest.mark.parametrize(("changes", "expected"), [
    ({}, "architecture: unknown size of Wan2.1 text-to-video 'none'. Available: 1.3B, 14B."),
    ({"architecture": "14b"}, "architecture: unknown size of Wan2.1 text-to-video '14b'. "
                              "Available: 1.3B, 14B. Did you mean '14B'?"),
    ({"architecture": "14B", "transformer": "x"},
     "transformer: does not go with 'weights: random'"),
])  # fmt: skip
def test_random_weights(changes, expected, tmp_path):
    assert said("wan", "random", SAMPLER, folder=tmp_path, **changes) == expected


def test_images_for_video(cosmos_video, tmp_path):
    import numpy as np
    from PIL import Image

    shape = {"frames": 5, "fps": 16.0, "image_folder": str(tmp_path)}
    model = model_of("cosmos", cosmos_video[0], SAMPLER, **shape)
    prompts = [PromptRecord(prompt_id=f"{i:05d}-abc", text="a cat", task="p") for i in range(2)]
    with pytest.raises(UserError, match=r"2 missing: 00000\.png, 00001\.png"):
        model.check(prompts, [1])
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(tmp_path / "00000.png")
    (tmp_path / "00001.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"00000\.png: expected 32x32 .*, got 32x48"):
        model.check(prompts, [1])
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "00000.png")
    with pytest.raises(UserError, match=r"00001\.png: expected a PNG image"):
        model.check(prompts, [1])
    noise = np.random.default_rng().integers(0, 255, (32, 32, 3), np.uint8)
    file = tmp_path / "00001.png"
    Image.fromarray(noise).save(file)
    model.check(prompts, [1])
    whole = file.read_bytes()
    for damaged in (whole[:-300], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"00001\.png: expected a PNG image"):
            model.check(prompts, [1])
    Image.fromarray(noise).save(file, format="JPEG")
    with pytest.raises(UserError, match=r"00001\.png: expected a PNG image"):
        model.check(prompts, [1])


@pytest.mark.parametrize(("depth", "size", "said"), [
    (16, 32, "expected 8 bits a channel, got mode I;16"), (8, 60000, "decompression bomb"),
])  # fmt: skip
def test_images_that_cannot_be_read_are_told_at_the_plan(depth, size, said, cosmos_video, tmp_path):
    """Their checksums are right; what cannot be read fails before the first sample."""
    import struct
    import zlib

    def chunk(kind, data):
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    rows = zlib.compress(bytes(32 * (1 + 32 * depth // 8)))
    header = struct.pack(">IIBBBBB", size, size, depth, 0, 0, 0, 0)
    (tmp_path / "00000.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    shape = {"frames": 5, "fps": 16.0, "image_folder": str(tmp_path)}
    model = model_of("cosmos", cosmos_video[0], SAMPLER, **shape)
    prompt = PromptRecord(prompt_id="00000-abc", text="a cat", task="p")
    with pytest.raises(UserError, match=rf"00000\.png: expected a PNG image \(.*{said}"):
        model.check([prompt], [1])
