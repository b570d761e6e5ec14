"""A pipeline's weights in one file, through diffusers' own conversion, with every key accounted."""

import json
import shutil

import pytest
import tiny_pipelines
import torch
from safetensors.torch import load_file, save_file
from test_pipelines import model_of as peer_of
from test_rcm_sampler import latents_of
from tiny_models import item, model_of

from rcm_bench.checkpoints.layouts import original_names
from rcm_bench.diffusion.digests import files_digest
from rcm_bench.errors import UserError
from rcm_bench.suite import RcmSampler

SAMPLER = RcmSampler(kind="rcm")
HEADS = {"transformer": "model.diffusion_model.", "vae": "vae."}
PLACE = "x.yaml:3: models.net"


def bare_config(root, folder, kept=()):
    """Copy a pipeline's folder without the weights of its networks but for ``kept``."""
    shutil.copytree(root, folder)
    for part in ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"):
        for file in (folder / part).glob("*.safetensors"):
            if part not in kept:
                file.unlink()
    return folder


def tensors_of(pipe, family, layout):
    state = {}
    for name, value in pipe.transformer.state_dict().items():
        new = name
        if layout != "diffusers":
            (new,) = original_names([name], family).values()
        state[HEADS["transformer"] + new] = value.clone().contiguous()
    for name, value in pipe.vae.state_dict().items():
        state[HEADS["vae"] + name] = value.clone().contiguous()
    return state


@pytest.mark.parametrize("layout", ["original", "diffusers"])
@pytest.mark.parametrize("family", ["wan", "cosmos"])
def test_wan_and_cosmos(family, layout, request, tmp_path, monkeypatch):
    """The same latents as from the folder, whose own transformer and autoencoder are gone."""
    root, pipe = request.getfixturevalue(family)
    config = bare_config(root, tmp_path / "config", kept=("text_encoder",))
    save_file(tensors_of(pipe, family, layout), tmp_path / "one.safetensors")
    model = model_of(family, tmp_path / "one.safetensors", SAMPLER, config=str(config))
    got, (media,) = latents_of(model, [item()], monkeypatch)
    monkeypatch.undo()
    folder = model_of(family, root, SAMPLER)
    expected, (own,) = latents_of(folder, [item()], monkeypatch)
    assert (got - expected).abs().max() < 1e-6 * float(expected.abs().max())
    assert (media.array == own.array).all()
    assert model.identity()["parts"]["vae"] == files_digest([tmp_path / "one.safetensors"])
    assert model.digest() != folder.digest(), "known by the file, whatever it holds"


def said(name, config=None, kind="wan", folder=None, load=False, **changes):
    with pytest.raises(UserError) as caught:
        model = model_of(kind, name, SAMPLER, config=config and str(config), folder=folder,
                         **changes)  # fmt: skip
        if load:
            model.load("cpu")
            list(model.generate([item()]))
    assert str(caught.value).startswith(f"{PLACE}.")
    return str(caught.value).removeprefix(f"{PLACE}.")


@pytest.fixture
def whole(wan, tmp_path):
    """A configuration without weights, a path for the file, and what it should hold."""
    config = bare_config(wan[0], tmp_path / "config", kept=("text_encoder",))
    return config, tmp_path / "one.safetensors", tensors_of(wan[1], "wan", "original")


def test_what_does_not_fit_is_listed(whole):
    config, path, state = whole
    head = HEADS["transformer"]
    del state[f"{head}blocks.1.self_attn.q.bias"]
    state[f"{head}head.modulation"] = torch.zeros(1, 2, 7)
    state[f"{head}blocks.9.self_attn.q.bias"] = torch.zeros(24)
    state[f"{head}surprise"] = torch.zeros(2)
    save_file(state, path)
    wrong = said(path, config, load=True)
    assert "1 missing: blocks.1.attn1.to_q.bias" in wrong
    assert "2 unexpected: blocks.9.attn1.to_q.bias, surprise" in wrong
    assert "1 of another shape: scale_shift_table (1, 2, 7) (expected (1, 2, 24))" in wrong


def test_what_does_not_fit_the_autoencoder_is_listed(whole, wan):
    config, path, state = whole
    del state["vae.post_quant_conv.bias"]
    state["vae.decoder.extra.weight"] = torch.zeros(2)
    save_file(state, path)
    wrong = said(path, config, load=True)
    assert "1 missing: post_quant_conv.bias; 1 unexpected: decoder.extra.weight" in wrong


def test_files_that_are_something_else(whole, cosmos, tmp_path):
    config, path, state = whole
    text = {"text_encoders.umt5xxl.transformer.shared.weight": torch.zeros(2, 2)}
    save_file(state | text, path)
    assert "1 tensors of a text encoder (text_encoders.umt5xxl.transformer.shared.weight, ...)" in (
        said(path, config)
    )
    save_file({k: v for k, v in state.items() if k.startswith("vae.")}, path)
    assert "expected the tensors of WanTransformer3DModel, got none" in said(path, config)
    save_file(tensors_of(cosmos[1], "cosmos", "original"), path)
    wrong = said(path, config, load=True)
    assert "missing: " in wrong and "unexpected: " in wrong
    path.write_bytes(path.read_bytes()[:-9])
    assert "truncated or damaged" in said(path, config)
    pickle = tmp_path / "one.ckpt"
    torch.save(state, pickle)
    assert "a pickle can run code when it is read, and a whole pipeline is never read from" in (
        said(pickle, config)
    )
    assert said("lost.safetensors", config, folder=tmp_path).startswith(
        "weights: lost.safetensors: no such file, neither in"
    )
    odd = tmp_path / "one.onnx"
    odd.write_bytes(b"x")
    assert "or a .safetensors file, got '.onnx'" in said(odd, config)
    assert said(config, config) == (
        f"config: belongs to a single file under 'weights', got {config}"
    )
    save_file(state, path)
    assert said(path, cosmos[0]).endswith("(WanPipeline), got Cosmos2TextToImagePipeline")
    (config / "transformer" / "config.json").unlink()
    assert "transformer/config.json: no such file" in said(path, config)
    assert said(path, "nowhere").startswith("config: nowhere: no such folder, neither in ")
    assert said(path, path).startswith(f"config: {path}: expected a folder in diffusers' layout")
    with pytest.raises(UserError, match=r"net\.config: nowhere: no such folder, neither in "):
        peer_of(path, config="nowhere")
    hub = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    assert said(path, hub).startswith(f"revision: expected the commit of '{hub}' on the hub")


def test_one_tensor_under_two_prefixes(whole):
    config, path, state = whole
    name = "blocks.0.self_attn.q.bias"
    save_file(state | {name: torch.zeros(24)}, path)
    wrong = said(path, config, load=True)
    assert "comes twice, under two prefixes: " in wrong and wrong.endswith(name)


def test_a_lora_of_another_model_is_told_when_the_shapes_are_known(whole, tmp_path):
    """A single file's shapes are known once it is read: the plan cannot tell."""
    config, path, state = whole
    save_file(state, path)
    layer = "transformer.blocks.7.attn2.to_v.lora_"
    lora = {f"{layer}A.weight": torch.zeros(3, 24), f"{layer}B.weight": torch.zeros(24, 3)}
    save_file(lora, tmp_path / "lora.safetensors")
    wrong = said(path, config, load=True, lora=str(tmp_path / "lora.safetensors"))
    assert "does not fit the network: blocks.7.attn2.to_v.weight (no such layer)" in wrong


def ltx_file(pipe):
    """LTX in its original names: four modules are called otherwise."""
    renames = {"proj_in": "patchify_proj", "time_embed": "adaln_single", "norm_q": "q_norm",
               "norm_k": "k_norm"}  # fmt: skip
    state = {}
    for name, value in pipe.transformer.state_dict().items():
        for new, old in renames.items():
            name = name.replace(new, old)
        state[HEADS["transformer"] + name] = value.contiguous()
    return state | {f"vae.{n}": v.contiguous() for n, v in pipe.vae.state_dict().items()}


def sd3_file(pipe):
    """SD3 with its three text encoders; T5 tells its words once."""
    state = {HEADS["transformer"] + n: v for n, v in pipe.transformer.state_dict().items()}
    state |= {f"first_stage_model.{n}": v for n, v in pipe.vae.state_dict().items()}
    for part, head in (("text_encoder", "clip_l"), ("text_encoder_2", "clip_g")):
        own = getattr(pipe, part).state_dict()
        state |= {f"text_encoders.{head}.transformer.{n}": v for n, v in own.items()}
    del state["text_encoders.clip_l.transformer.text_projection.weight"]
    state |= {f"text_encoders.t5xxl.transformer.{n}": v
              for n, v in pipe.text_encoder_3.state_dict().items()}  # fmt: skip
    return {name: value.clone().contiguous() for name, value in state.items()}


@pytest.fixture(scope="module")
def sd3(tmp_path_factory):
    """SD3 with two text encoders of two widths, as diffusers tells them apart."""
    folder = tmp_path_factory.mktemp("sd3")
    with pytest.MonkeyPatch.context() as patch:
        real = tiny_pipelines.clip_text
        widths = iter([12, 20])
        patch.setattr(tiny_pipelines, "clip_text", lambda *_: real(True, next(widths)))
        pipe = tiny_pipelines.save("sd3", folder)
    with torch.no_grad():  # the projection that diffusers puts in place of the missing one
        pipe.text_encoder.text_projection.weight.copy_(torch.eye(12))
    pipe.text_encoder.save_pretrained(folder / "text_encoder")
    return folder, pipe


SHORT = {"arguments": {"max_sequence_length": 16}}


def test_a_peer_with_all_its_networks_in_one_file(sd3, tmp_path):
    root, pipe = sd3
    path = tmp_path / "sd3.safetensors"
    state = sd3_file(pipe)
    del state["text_encoders.t5xxl.transformer.encoder.embed_tokens.weight"]
    kept = {"alphas_cumprod": torch.zeros(2), "text_encoders.clip_l.logit_scale": torch.zeros(())}
    save_file(state | kept, path)
    config = bare_config(root, tmp_path / "config")
    model = peer_of(path, config=str(config), **SHORT)
    model.load("cpu")
    (media,) = model.generate([item()])
    plain = peer_of(root, **SHORT)
    plain.load("cpu")
    (expected,) = plain.generate([item()])
    assert (media.array == expected.array).all() and media.array.std() > 1
    assert model.digest() != plain.digest()


@pytest.mark.parametrize(("head", "part"), [
    ("clip_l", "text_encoder"), ("clip_g", "text_encoder_2"), ("t5xxl", "text_encoder_3"),
])  # fmt: skip
def test_a_text_encoder_that_the_file_lacks_comes_from_the_folder(head, part, sd3, tmp_path):
    """Its weights are part of what the samples are known by; where nobody has them, a plan says."""
    root, pipe = sd3
    path, config = (
        tmp_path / "sd3.safetensors",
        bare_config(root, tmp_path / "config", kept=(part,)),
    )
    save_file({k: v for k, v in sd3_file(pipe).items() if f".{head}." not in k}, path)
    model = peer_of(path, config=str(config), **SHORT)
    assert set(model.files.weights) == {part}
    model.load("cpu")
    plain = peer_of(root, **SHORT)
    plain.load("cpu")
    (media,), (expected,) = model.generate([item()]), plain.generate([item()])
    assert (media.array == expected.array).all() and media.array.std() > 1
    next((config / part).glob("*.safetensors")).unlink()
    assert f"{part}: expected one .safetensors file" in peer_said(path, config, load=False)


def test_two_text_encoders_of_one_width_are_refused(sd3, tmp_path):
    """diffusers would fill both from the first."""
    root, pipe = sd3
    path, config = tmp_path / "sd3.safetensors", bare_config(root, tmp_path / "config")
    same = "transformer.text_model.embeddings.position_embedding.weight"
    changed = sd3_file(pipe) | {f"text_encoders.clip_g.{same}": torch.zeros(16, 12)}
    save_file(changed, path)
    wrong = peer_said(path, config, load=False)
    assert f"two text encoders of the same width 12 (text_encoders.clip_l.{same}, " in wrong


def test_an_autoencoder_that_says_no_z_dim_has_that_of_diffusers(whole):
    """16, whatever the transformer has."""
    config, path, state = whole
    save_file(state, path)

    def change(part, **changes):
        file = config / part / "config.json"
        known = {k: v for k, v in json.loads(file.read_text()).items() if k != "z_dim"}
        file.write_text(json.dumps(known | changes))

    change("vae")
    model_of("wan", path, SAMPLER, config=str(config))
    change("transformer", out_channels=8)
    assert "expected an autoencoder of 8 channels as the transformer has, got z_dim 16" in said(
        path, config
    )


def test_a_peer_in_its_original_names_with_text_encoder_from_the_folder(tmp_path):
    pipe = tiny_pipelines.save("ltx", tmp_path / "ltx")
    config = bare_config(tmp_path / "ltx", tmp_path / "config", kept=("text_encoder",))
    path = tmp_path / "ltx.safetensors"
    save_file(ltx_file(pipe), path)
    video = {"frames": 9, "fps": 8.0, **SHORT}
    made = []
    for model in (peer_of(path, config=str(config), **video), peer_of(tmp_path / "ltx", **video)):
        model.load("cpu")
        made += model.generate([item()])
    assert (made[0].array == made[1].array).all() and made[0].array.std() > 1


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    """SDXL with text encoders of two widths, the second's pooled width as the UNet takes it."""
    import transformers

    def clip_text(projection, width=None):
        width = 40 if projection else 24
        config = transformers.CLIPTextConfig(
            vocab_size=128, hidden_size=width, intermediate_size=37, num_hidden_layers=2,
            num_attention_heads=4, projection_dim=32, max_position_embeddings=16, bos_token_id=0,
            eos_token_id=1, pad_token_id=1,
        )  # fmt: skip
        kind = "CLIPTextModelWithProjection" if projection else "CLIPTextModel"
        return getattr(transformers, kind)(config).eval()

    folder = tmp_path_factory.mktemp("sdxl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_pipelines, "clip_text", clip_text)
        return folder, tiny_pipelines.save("sdxl", folder)


def test_sdxl_in_its_original_names(sdxl, tmp_path):
    """Everything joined, split and renumbered as its single files have it."""
    import original_sdxl

    root, pipe = sdxl
    path, config = tmp_path / "sdxl.safetensors", bare_config(root, tmp_path / "config")
    state = original_sdxl.file_of(pipe)
    fixed = {"conditioner.embedders.0.transformer.text_model.embeddings.position_ids":
             torch.arange(16)[None], "denoiser.sigmas": torch.zeros(3)}  # fmt: skip
    save_file(state | fixed, path)
    made = []
    for model in (peer_of(path, config=str(config)), peer_of(root)):
        model.load("cpu")
        made += model.generate([item()])
    assert (made[0].array == made[1].array).all() and made[0].array.std() > 1
    name = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"
    head = "conditioner.embedders.1.model.transformer.resblocks."
    changed = {k: v for k, v in state.items() if k != name}
    save_file(changed | {"model.diffusion_model.input_blocks.9.0.surprise": torch.zeros(2)}, path)
    wrong = peer_said(path, config, arguments={})
    assert "1 missing: down_blocks.0.resnets.0.conv1.weight" in wrong
    assert "1 unexpected: model.diffusion_model.input_blocks.9.0.surprise" in wrong
    save_file(state | {f"{head}7.ln_1.bias": torch.zeros(2)}, path)
    assert f"1 unexpected: {head}7.ln_1.bias" in peer_said(path, config, arguments={})


def peer_said(path, config, load=True, **changes):
    with pytest.raises(UserError) as caught:
        model = peer_of(path, config=str(config), **{**SHORT, **changes})
        if load:
            model.load("cpu")
    return str(caught.value)


def test_what_does_not_fit_a_peer_is_listed(sd3, tmp_path):
    root, pipe = sd3
    path, config = tmp_path / "sd3.safetensors", bare_config(root, tmp_path / "config")
    state = sd3_file(pipe)
    clip = "text_encoders.clip_g.transformer.text_model.final_layer_norm"
    changed = dict(state) | {f"{clip}.extra": torch.zeros(2)}
    del changed[f"{clip}.bias"]
    save_file(changed, path)
    wrong = peer_said(path, config)
    assert (
        "does not fit the text encoders: text_encoder_2: 1 missing: text_model.final_lay" in wrong
    )
    assert f"1 unexpected: {clip}.extra" in wrong
    changed = dict(state) | {"model.diffusion_model.surprise": torch.zeros(2)}
    save_file(changed, path)
    assert "1 unexpected: surprise" in peer_said(path, config)
    changed = dict(state) | {f"{clip}.bias": torch.zeros(21)}
    save_file(changed, path)
    assert "text_encoder_2: does not fit: " in peer_said(path, config)
    no_t5 = {k: v for k, v in state.items() if "t5xxl" not in k}
    save_file(no_t5, path)
    assert "text_encoder_3: expected one .safetensors file" in peer_said(path, config, load=False)


def flux_shapes(width=3072):
    """Original names and shapes of FLUX.1 with one block of each kind, at its real width."""
    linear = {
        "img_in": (width, 64), "txt_in": (width, 4096), "final_layer.linear": (64, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
        "single_blocks.0.linear1": (7 * width, width),
        "single_blocks.0.linear2": (width, 5 * width),
        "single_blocks.0.modulation.lin": (3 * width, width),
    }  # fmt: skip
    for name, inside in (("time", 256), ("guidance", 256), ("vector", 768)):
        linear |= {f"{name}_in.in_layer": (width, inside), f"{name}_in.out_layer": (width, width)}
    scales = ["single_blocks.0.norm.query_norm.scale", "single_blocks.0.norm.key_norm.scale"]
    for side in ("img", "txt"):
        head = f"double_blocks.0.{side}"
        linear |= {f"{head}_mod.lin": (6 * width, width), f"{head}_attn.qkv": (3 * width, width),
                   f"{head}_attn.proj": (width, width), f"{head}_mlp.0": (4 * width, width),
                   f"{head}_mlp.2": (width, 4 * width)}  # fmt: skip
        scales += [f"{head}_attn.norm.query_norm.scale", f"{head}_attn.norm.key_norm.scale"]
    shapes = {name: [128] for name in scales}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": list(shape), f"{name}.bias": [shape[0]]}
    return shapes


@pytest.mark.long
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_fluxs_original_names_at_its_width(prefix, tmp_path):
    """Its converter knows one width alone: names and shapes, without weights."""
    import diffusers

    from rcm_bench.checkpoints.fit import check_fit
    from rcm_bench.diffusion.single_file import SingleFile
    from rcm_bench.diffusion.single_file_weights import _converted

    config = {"num_layers": 1, "num_single_layers": 1, "guidance_embeds": True}
    with torch.device("meta"):
        net = diffusers.FluxTransformer2DModel(**config)
    expected = {name: list(value.shape) for name, value in net.state_dict().items()}
    single = SingleFile(path=tmp_path, names={}, place="x")
    shapes = {prefix + name: shape for name, shape in flux_shapes().items()}
    kind = diffusers.FluxTransformer2DModel
    check_fit(expected, _converted(single, kind, dict(net.config), shapes), "x")
    other = shapes | {f"{prefix}double_blocks.0.surprise": [2]}
    with pytest.raises(UserError, match=r"1 unexpected: .*double_blocks\.0\.surprise"):
        check_fit(expected, _converted(single, kind, dict(net.config), other), "x")


def test_a_pipeline_that_diffusers_reads_from_no_single_file(tmp_path):
    """SANA's text encoder is none that diffusers looks for; its tensors would be dropped."""
    pipe = tiny_pipelines.save("sana", tmp_path / "sana")
    state = {f"{HEADS['transformer']}{n}": v.contiguous()
             for n, v in pipe.transformer.state_dict().items()}  # fmt: skip
    path = tmp_path / "sana.safetensors"
    save_file(state | {"text_encoders.gemma2.weight": torch.zeros(2)}, path)
    wrong = peer_said(path, tmp_path / "sana")
    assert "1 unexpected: text_encoders.gemma2.weight" in wrong


def test_configurations_never_run_code_and_nothing_is_downloaded(sd3, tmp_path, monkeypatch):
    root, pipe = sd3
    path, config = tmp_path / "sd3.safetensors", bare_config(root, tmp_path / "config")
    save_file(sd3_file(pipe), path)
    (config / "transformer" / "evil.py").write_text("raise SystemExit('code ran')")
    assert "brings Python code (transformer/evil.py)" in peer_said(path, config, load=False)
    (config / "transformer" / "evil.py").unlink()

    def never(*_, **__):
        raise AssertionError("asked the network")

    monkeypatch.setattr("socket.socket.connect", never)
    peer_of(path, config=str(config), **SHORT).load("cpu")
    index = json.loads((config / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusion3Pipeline"
    assert load_file(path).keys() == sd3_file(pipe).keys()
