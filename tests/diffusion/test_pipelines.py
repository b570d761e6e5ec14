"""Other pipelines of diffusers as peers: what they make themselves, counted, one generator each."""

import json
import shutil

import pytest
import tiny_pipelines
import torch
from safetensors.torch import load_file, save_file
from tiny_models import item, nearly_all

from rcm_bench import components
from rcm_bench.errors import UserError
from rcm_bench.suite import RcmSampler, SchedulerSampler
from rcm_bench.types import ModelContext

SHORT = {"max_sequence_length": 16}
SANA = {**SHORT, "use_resolution_binning": False, "complex_human_instruction": None}
ARGUMENTS = {"sdxl": {}, "sd3": SHORT, "flux": SHORT, "sana": SANA, "sana-sprint": SANA}
GUIDED = ("sdxl", "sd3", "sana")  # twice the evaluations; others have guidance as an input


def model_of(root, guidance=3.0, sampler=None, place="x.yaml:3: models.net", **changes):
    found = components.find("models", "model kind", "diffusers", place)
    given = {"weights": str(root), "dtype": "float32", "resolution": [32, 32], **changes}
    chosen = sampler or SchedulerSampler(kind="scheduler", guidance=guidance)
    context = ModelContext(place=place, folder=root if hasattr(root, "is_dir") else None)
    return found(found.Settings(**given), chosen, context)


@pytest.fixture(scope="module")
def sd3(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd3")
    return folder, tiny_pipelines.save("sd3", folder)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_pipelines_own_images(name, tmp_path):
    """Saved, loaded and sampled in one batch; each image is the pipeline's own from its seed."""
    pipe = tiny_pipelines.save(name, tmp_path)
    model = model_of(tmp_path, arguments=ARGUMENTS[name])
    assert model.missing() == []
    model.load("cpu")
    items = [item(seed=s, prompt=p) for s, p in ((1, "a cat"), (2, "two dogs"))]
    made = list(model.generate(items))
    assert [m.nfe for m in made] == [4 if name in GUIDED else 2] * 2
    assert model.evaluations(2) == made[0].nfe and made[0].fps is None and made[0].finite
    for one, media in zip(items, made, strict=True):
        with torch.inference_mode():
            expected = pipe(
                prompt=one.prompt, height=32, width=32, num_inference_steps=2, guidance_scale=3.0,
                generator=torch.Generator().manual_seed(one.seed), output_type="np",
                return_dict=False, **ARGUMENTS[name],
            )[0][0]  # fmt: skip
        assert expected.std() > 0.01
        assert nearly_all(media.array / 255 - expected, 0.5 / 255 + 1e-3)
    assert (made[0].array != made[1].array).any()


@pytest.mark.parametrize(("name", "guidance"), [("ltx", 3.0), ("anyflow", 1.0)])
def test_a_video(name, guidance, tmp_path):
    """AnyFlow's networks are told two times: where a step begins, and where it ends."""
    pipe = tiny_pipelines.save(name, tmp_path)
    model = model_of(tmp_path, guidance=guidance, frames=9, fps=8.0, arguments=SHORT)
    model.load("cpu")
    (media,) = model.generate([item(seed=3, prompt="a cat")])
    with torch.inference_mode():
        expected = pipe(
            prompt="a cat", height=32, width=32, num_frames=9, num_inference_steps=2,
            guidance_scale=guidance, generator=torch.Generator().manual_seed(3), output_type="np",
            return_dict=False, **SHORT,
        )[0][0]  # fmt: skip
    assert media.array.shape == (9, 32, 32, 3) and media.fps == 8
    assert media.nfe == model.evaluations(2) == (4 if guidance > 1 else 2)
    assert expected.std() > 0.01
    assert nearly_all(media.array / 255 - expected, 0.5 / 255 + 1e-3)


def test_what_decides_a_sample_is_in_its_identity(sd3, tmp_path):
    root, _ = sd3
    plain = model_of(root, arguments=SHORT)
    assert plain.identity()["pipeline"] == "StableDiffusion3Pipeline"
    others = [model_of(root, arguments={"max_sequence_length": 8}),
              model_of(root, arguments=SHORT, negative_prompt="blurry")]  # fmt: skip
    copy = shutil.copytree(root, tmp_path / "copy")
    assert model_of(copy, arguments=SHORT).identity() == plain.identity()
    path = copy / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "shift": 5.0}))
    others.append(model_of(copy, arguments=SHORT))
    assert all(other.identity() != plain.identity() for other in others)


def said(root, load=False, **changes):
    with pytest.raises(UserError) as caught:
        model = model_of(root, **changes)
        if load:
            model.load("cpu")
    assert str(caught.value).startswith("x.yaml:3: models.net.")
    return str(caught.value).removeprefix("x.yaml:3: models.net.")


def test_what_the_call_does_not_take(sd3, tmp_path):
    root, _ = sd3
    assert said(root, sampler=RcmSampler(kind="rcm")) == (
        "sampler: a pipeline brings its own: expected kind 'scheduler' (with its guidance), got "
        "'rcm'"
    )
    assert said(root, frames=5).startswith("fps: a video needs a frame rate")
    assert said(root, load=True, frames=5, fps=8.0) == (
        "frames: StableDiffusion3Pipeline takes no num_frames"
    )
    wrong = said(root, load=True, arguments={"max_sequence_lenght": 16})
    assert "unknown argument 'max_sequence_lenght'" in wrong
    assert "Did you mean 'max_sequence_length'?" in wrong
    assert "unknown argument 'prompt'" in said(root, load=True, arguments={"prompt": "x"})
    index = json.loads((root / "model_index.json").read_text())
    copy = shutil.copytree(root, tmp_path / "copy")

    def renamed(name):
        (copy / "model_index.json").write_text(json.dumps({**index, "_class_name": name}))
        return copy

    assert "negative_prompt: SanaSprintPipeline takes no negative_prompt" in said(
        renamed("SanaSprintPipeline"), load=True, negative_prompt="blurry")  # fmt: skip
    assert "expected a pipeline of diffusers" in said(renamed("EvilPipeline"), load=True)
    assert "WanPipeline is sampled by 'kind: wan'" in said(renamed("WanPipeline"))


def test_a_fault_without_words_is_called_by_its_kind(sd3, monkeypatch):
    def fail(*_, **__):
        raise OSError

    monkeypatch.setattr("diffusers.StableDiffusion3Pipeline.from_pretrained", fail)
    assert said(sd3[0], load=True) == f"weights: {sd3[0]}: OSError"


def test_a_size_that_the_autoencoder_cannot_make(sd3, tmp_path):
    assert said(sd3[0], resolution=[32, 33]) == (
        "resolution: expected a width that is a multiple of 2, got 33; the nearest are 32 or 34"
    )
    copy = shutil.copytree(sd3[0], tmp_path / "copy")
    config = json.loads((copy / "vae" / "config.json").read_text())
    deep = {**config, "encoder_block_out_channels": [8] * 6}  # as SANA's, 32 pixels a position
    (copy / "vae" / "config.json").write_text(json.dumps(deep))
    assert said(copy, resolution=[16, 32]) == (
        "resolution: expected a height that is a multiple of 32, got 16; the nearest are 32"
    )


def test_a_size_that_the_pipeline_changes(sd3):
    model = model_of(sd3[0], arguments=SHORT, resolution=[32, 36])
    model.load("cpu")
    model._pipeline._arguments["width"] = 32
    with pytest.raises(UserError, match=r"resolution: the pipeline made \(32, 32, 3\), expected"):
        list(model.generate([item()]))


@pytest.fixture
def copy(sd3, tmp_path):
    return shutil.copytree(sd3[0], tmp_path / "copy")


def test_code_never_runs(copy):
    evil = "raise SystemExit('code ran')"
    (copy / "transformer" / "modeling.py").write_text(evil)
    assert "brings Python code (transformer/modeling.py); code from a folder" in said(copy)
    (copy / "transformer" / "modeling.py").unlink()
    path = copy / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "transformer": ["evil_package", "Net"]}))
    assert "'transformer' is a Net of 'evil_package', expected one of diffusers or" in said(copy)
    path.write_text(json.dumps({**index, "transformer": ["diffusers", "EvilModel"]}))
    assert "has no EvilModel; code from a folder never runs here" in said(copy, load=True)


def test_damaged_and_missing_files(copy):
    file = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    del state["proj_out.weight"]
    whole = file.read_bytes()
    save_file(state, file, {"format": "pt"})
    assert "does not fit: 1 missing: proj_out.weight" in said(copy, load=True)
    file.write_bytes(whole[:-9])
    assert "truncated or damaged" in said(copy)
    file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert "expected one .safetensors file or shards with an index, got" in said(copy)
    shutil.rmtree(copy / "text_encoder_3")
    file.with_name("diffusion_pytorch_model.fp16.safetensors").rename(file)
    file.write_bytes(whole)
    assert "text_encoder_3: no such folder, but the index names it" in said(copy)


def test_one_of_several_variants(copy):
    for file in sorted(copy.rglob("*.safetensors")):
        shutil.copy(file, file.with_name(f"{file.stem}.fp16.safetensors"))
    plain, half = model_of(copy), model_of(copy, variant="fp16")
    assert [f.name for f in half.files.weights["vae"]] == [
        "diffusion_pytorch_model.fp16.safetensors"
    ]
    assert plain.digest() == half.digest(), "the same weights under another name"
    half.load("cpu")


def test_a_hub_id_needs_a_commit(tmp_path):
    hub = "stabilityai/stable-diffusion-3.5-medium"
    (tmp_path / "suite").mkdir()

    def entry(**changes):
        found = components.find("models", "model kind", "diffusers", "x")
        given = found.Settings(weights=hub, resolution=[1024, 1024], **changes)
        context = ModelContext(place="x.yaml:3: models.net", folder=tmp_path / "suite")
        return found(given, SchedulerSampler(kind="scheduler", guidance=4.5), context)

    with pytest.raises(UserError, match=f"revision: expected the commit of '{hub}'"):
        entry()
    model = entry(revision="0" * 40)
    (missing,) = model.missing()
    assert missing.startswith(
        f"{hub} at 000000000000 is not on this machine (about 16 GB as bfloat16); get it: hf downlo"
    )
    assert model.evaluations(28) == 56 and model.card()["revision"] == "0" * 40
    with pytest.raises(UserError, match="is not on this machine"):
        model.load("cpu")
