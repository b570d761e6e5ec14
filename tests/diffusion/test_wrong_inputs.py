"""What is wrong with a suite's models, as a plan says it: file, line, key, what was expected."""

import json
import shutil

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from tiny_models import item, model_of

import rcm_bench
from rcm_bench.canonical import file_digest
from rcm_bench.checkpoints.layouts import original_names
from rcm_bench.errors import UserError
from rcm_bench.suite import RcmSampler

HUBS = {"wan": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "cosmos": "nvidia/Cosmos-Predict2-2B-Text2Image"}
TITLES = {"wan": "Wan2.1 text-to-video", "cosmos": "Cosmos-Predict2"}
OTHER = {"wan": "cosmos", "cosmos": "wan"}
FILE = "diffusion_pytorch_model.safetensors"
both = pytest.mark.parametrize("family", ["wan", "cosmos"])


@pytest.fixture
def said(tmp_path):
    """Plan a suite with one model and return what it says, or what is missing."""
    (tmp_path / "prompts.txt").write_text("a cat\n")

    def plan(kind, weights, sampler=None, allow=(), **entry):
        model = {"kind": kind, "role": "teacher", "weights": str(weights), "sampler": "s",
                 "resolution": [32, 32], **entry}  # fmt: skip
        suite = {
            "suite": "wrong", "models": {"net": model}, "samplers": {"s": sampler or {
                "kind": "rcm"}}, "steps": [1], "prompts": {"file": "prompts.txt"},
            "benchmarks": {"latency": {}},
        }  # fmt: skip
        path = tmp_path / "wrong.yaml"
        path.write_text(json.dumps(suite))
        try:
            return "\n".join(rcm_bench.plan(str(path), allow).missing)
        except UserError as fault:
            assert str(fault).startswith(f"{path}:1: "), "file and line"
            return str(fault).removeprefix(f"{path}:1: models.net.")

    return plan


@pytest.fixture
def folders(wan, cosmos):
    return {"wan": wan, "cosmos": cosmos}


@both
def test_files_that_are_not_there(family, folders, said, tmp_path):
    assert said(family, "nowhere").startswith("weights: nowhere: no such folder, neither in ")
    lost = said(family, folders[family][0], transformer="lost.safetensors")
    assert "models.net.transformer: lost.safetensors: no such file (about" in lost
    assert said(family, folders[family][0], lora="lost.safetensors") == (
        "lora: lost.safetensors: expected a .safetensors file that exists"
    )
    shutil.copytree(folders[family][0], tmp_path / "copy")
    for part, name in (("transformer", "transformer/config.json"), ("vae", "vae/config.json"),
                       ("text_encoder", "text_encoder/config.json")):  # fmt: skip
        (tmp_path / "copy" / part).rename(tmp_path / part)
        wrong = said(family, tmp_path / "copy")
        assert wrong.startswith("weights: ") and f"{name}: no such file; expected" in wrong
        (tmp_path / part).rename(tmp_path / "copy" / part)
    (tmp_path / "copy" / "vae" / FILE).unlink()
    assert "copy/vae: expected one .safetensors file or several with an index, got none" in said(
        family, tmp_path / "copy"
    )


@both
def test_a_folder_of_another_family(family, folders, said):
    wrong = said(family, folders[OTHER[family]][0])
    assert f"expected {TITLES[family]} (" in wrong and "Pipeline), got " in wrong


@both
def test_parts_of_another_kind(family, folders, said, tmp_path):
    copy = shutil.copytree(folders[family][0], tmp_path / "copy")

    def changed(path, **values):
        old = path.read_text()
        path.write_text(json.dumps({**json.loads(old), **values}))
        wrong = said(family, copy)
        path.write_text(old)
        return wrong

    assert "copy/vae: expected AutoencoderKLWan, got AutoencoderKL" in changed(
        copy / "vae" / "config.json", _class_name="AutoencoderKL"
    )
    assert "expected an autoencoder of 16 channels as the transformer has, got z_dim 8" in changed(
        copy / "vae" / "config.json", z_dim=8
    )
    wrong = changed(copy / "model_index.json", text_encoder=["transformers", "CLIPTextModel"])
    assert "expected a text encoder of class T5EncoderModel or UMT5EncoderModel, got CLIP" in wrong
    wrong = changed(copy / "transformer" / "config.json", _class_name="FluxTransf")
    kind = {"wan": "WanTransformer3DModel", "cosmos": "CosmosTransformer3DModel"}[family]
    assert f"copy/transformer: expected {kind}, got FluxTransf" in wrong


@both
def test_sizes(family, folders, said):
    root = folders[family][0]
    video = {"fps": 16.0} if family == "wan" else {}
    assert said(family, root, resolution=[32, 40]).startswith(
        "resolution: expected a width that is a multiple of 16, got 40; the nearest are 32 or 48"
    )
    assert "lies beyond this model's positions: at most " in said(
        family, root, resolution=[768, 1360]
    )
    if family == "wan":
        assert said("wan", root, frames=80, **video) == (
            "frames: expected 4k + 1 frames, got 80; the nearest are 77 and 81"
        )
    assert "fps: a video needs a frame rate and an image has none" in said(family, root, fps=16.0)


def test_a_video_of_a_model_of_images(folders, said, cosmos_video):
    assert said("cosmos", folders["cosmos"][0], frames=5, fps=16.0) == (
        "frames: Cosmos2TextToImagePipeline makes images: expected 1 frame, got 5"
    )
    assert said("cosmos", cosmos_video[0], frames=6, fps=16.0) == (
        "frames: expected 4k + 1 frames, got 6; the nearest are 5 and 9"
    )
    assert said("cosmos", cosmos_video[0], frames=5, fps=16.0) == ""


@both
@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
def test_damaged_files(family, part, folders, said, tmp_path):
    copy = shutil.copytree(folders[family][0], tmp_path / "copy")
    (file,) = (copy / part).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-50])
    wrong = said(family, copy)
    assert wrong.startswith(f"weights: {file}: expected ") and "truncated or damaged" in wrong


@both
def test_pickles(family, folders, said, tmp_path):
    """Without the option, with that of another file, and in place of a folder's safetensors."""
    root, pipe = folders[family]
    file = tmp_path / "student.pt"
    torch.save(pipe.transformer.state_dict(), file)
    digest = file_digest(file)
    refused = f"transformer: {file}: a pickle can run code when it is read. Convert it to"
    assert said(family, root, transformer=str(file)).startswith(refused)
    assert said(family, root, transformer=str(file), allow=["0" * 64]).endswith(digest)
    assert said(family, root, transformer=str(file), allow=[digest]) == ""
    assert "a whole pipeline is never read from one" in said(
        family, file, config=str(root), allow=[digest]
    )
    copy = shutil.copytree(root, tmp_path / "copy")
    (copy / "transformer" / FILE).rename(copy / "transformer" / "diffusion_pytorch_model.bin")
    assert "got diffusion_pytorch_model.bin" in said(family, copy, allow=[digest])


@both
def test_revisions(family, folders, said, tmp_path, monkeypatch):
    hub, commit = HUBS[family], "1" * 40
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    expected = f"revision: expected the commit of '{hub}' on the hub (40 hexadecimal digits), got "
    for revision, got in ((None, "none"), ("main", "'main'"), ("1" * 39, f"'{'1' * 39}'")):
        entry = {} if revision is None else {"revision": revision}
        wrong = said(family, hub, **entry)
        assert wrong == f"{expected}{got}; a branch may change under the same name"
    snapshots = tmp_path / "hub" / f"models--{hub.replace('/', '--')}" / "snapshots"
    shutil.copytree(folders[family][0], snapshots / commit)
    assert said(family, hub, revision=commit) == ""
    missing = said(family, hub, revision="2" * 40)
    assert missing.startswith(f"{hub} at 222222222222 is not on this machine")
    assert (
        f"; on this machine: {commit}; get it: hf download {hub} --revision {'2' * 40}" in missing
    )


def other_size(family, **changes):
    import diffusers

    if family == "wan":
        net = diffusers.WanTransformer3DModel(**tiny_models.WAN_CONFIG | changes)
    else:
        net = diffusers.CosmosTransformer3DModel(**tiny_models.cosmos_config(16) | changes)
    return net.state_dict()


@both
@pytest.mark.parametrize("layout", ["diffusers", "original", "pickle"])
def test_students_of_another_size(family, layout, folders, said, tmp_path):
    """Named as a whole: not as a list of every key."""
    root = folders[family][0]
    state = other_size(family, num_layers=3, num_attention_heads=4)
    width = {"wan": 24, "cosmos": 32}[family]
    expected = (
        f"expected a network of 2 blocks of width {width}, got one of 3 blocks of width {2 * width}"
    )
    if layout == "pickle":
        path = tmp_path / "student.pt"
        torch.save(state, path)
        model = model_of(family, root, RcmSampler(kind="rcm"), transformer=str(path),
                         pickles=[file_digest(path)])  # fmt: skip
        model.load("cpu")
        with pytest.raises(UserError, match=expected):
            list(model.generate([item()]))
        return
    if layout == "original":
        names = original_names(state, family, "net.")
        state = {names[name]: value for name, value in state.items()}
    path = tmp_path / "student.safetensors"
    save_file(state, path)
    wrong = said(family, root, transformer=str(path))
    assert wrong.startswith(f"transformer: {path}: {expected}; a student of another size than the")
    assert "says which by 'architecture' (" in wrong


@both
def test_students_and_loras_of_another_family(family, folders, said, tmp_path):
    root, _ = folders[family]
    other = OTHER[family]
    path = tmp_path / "student.safetensors"
    for head in ("", "net."):
        state = folders[other][1].transformer.state_dict()
        names = original_names(state, other, head)
        save_file({names[name]: value.clone() for name, value in state.items()}, path)
        wrong = said(family, root, transformer=str(path))
        assert wrong.startswith(f"transformer: {path}: expected ")
    save_file(state, path)
    assert f"expected a network of {TITLES[family]}, got one of {TITLES[other]} (" in said(
        family, root, transformer=str(path)
    )
    blocks = {"wan": "blocks", "cosmos": "transformer_blocks"}[other]
    width = {"wan": 24, "cosmos": 32}[other]
    layer = f"transformer.{blocks}.1.attn2.to_v.lora_"
    lora = {f"{layer}A.weight": torch.zeros(3, width), f"{layer}B.weight": torch.zeros(width, 3)}
    save_file(lora, path)
    assert f"does not fit the network: {blocks}.1.attn2.to_v.weight (no such layer)" in said(
        family, root, lora=str(path)
    )


@both
def test_a_student_whose_configuration_is_another(family, folders, said, tmp_path):
    """Other heads of the same width: every shape fits, and every sample would be wrong."""
    root = folders[family][0]
    student = shutil.copytree(root / "transformer", tmp_path / "student")
    assert said(family, root, transformer=str(student)) == ""
    config = json.loads((student / "config.json").read_text())
    heads, width = config["num_attention_heads"], config["attention_head_dim"]
    config |= {"num_attention_heads": 2 * heads, "attention_head_dim": width // 2}
    (student / "config.json").write_text(json.dumps(config))
    assert said(family, root, transformer=str(student)) == (
        f"transformer: {student / 'config.json'}: another network: attention_head_dim {width // 2} "
        f"(expected {width}), num_attention_heads {2 * heads} (expected {heads})"
    )
    (student / "config.json").unlink()
    assert said(family, root, transformer=str(student)) == "", "the folder's own counts"
    (student / FILE).unlink()
    assert "expected one .safetensors file or several with an index, got none" in said(
        family, root, transformer=str(student)
    )


@both
def test_a_folder_whose_weights_are_not_those_of_its_configuration(family, folders, tmp_path):
    """Missing, unexpected and misshapen at once, when the first batch is made."""
    copy = shutil.copytree(folders[family][0], tmp_path / "copy")
    file = copy / "transformer" / FILE
    state = load_file(file)
    name = next(iter(n for n in state if n.endswith("attn1.to_q.weight")))
    del state[name]
    save_file(state | {"surprise": torch.zeros(2)}, file, {"format": "pt"})
    model = model_of(family, copy, RcmSampler(kind="rcm"))
    model.load("cpu")
    with pytest.raises(UserError, match=rf"does not fit: 1 missing: {name}; 1 unexpected: surpris"):
        list(model.generate([item()]))
