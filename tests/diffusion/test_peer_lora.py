"""LoRA for any diffusers pipeline: what peft makes of a file, by hand, and what does not fit."""

import json

import pytest
import tiny_pipelines
import torch
from safetensors.torch import save_file
from test_pipelines import ARGUMENTS, SHORT, model_of
from test_rcm_sampler import latents_of
from tiny_models import item, nearly_all
from tiny_models import model_of as own_of

from rcm_bench.checkpoints.lora import find_lora
from rcm_bench.diffusion.peer_lora import merge_into
from rcm_bench.errors import UserError
from rcm_bench.suite import RcmSampler

RANK, ALPHA, SCALE = 3, 6.0, 0.5
KEY = "lora_adapter_metadata"
# A layer of each network that the file reaches, by the pipeline's part.
LAYERS = {
    "sdxl": [("unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"),
             ("unet", "mid_block.attentions.0.transformer_blocks.0.attn2.to_v")],
    "sd3": [("transformer", "transformer_blocks.0.attn.to_q"),
            ("transformer", "transformer_blocks.0.ff.net.0.proj")],
    "flux": [("transformer", "transformer_blocks.0.attn.to_k")],
    "ltx": [("transformer", "transformer_blocks.0.attn1.to_q")],
}  # fmt: skip


# kohya's tool reaches text encoders too, and names them by number.
KOHYA = [*LAYERS["sdxl"], ("text_encoder", "text_model.encoder.layers.0.self_attn.out_proj"),
         ("text_encoder_2", "text_model.encoder.layers.1.mlp.fc1"),
         ("unet", "up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0")]  # fmt: skip


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = folder, tiny_pipelines.save(name, folder)
        return made[name]

    return get


def placed(pipe, part, module):
    """Return a module's name in this version of transformers, which dropped a level of CLIP."""
    names = dict(getattr(pipe, part).named_modules())
    return module if module in names else module.removeprefix("text_model.")


def halves(pipe, part, module):
    outside, inside = getattr(pipe, part).get_submodule(placed(pipe, part, module)).weight.shape
    return 0.5 * torch.randn(RANK, inside), 0.5 * torch.randn(outside, RANK)


def lora_of(pipe, layers, names="peft"):
    """Return a file's tensors, and by layer the update that they mean at alpha over rank of 2."""
    tensors, updates = {}, {}
    for part, module in layers:
        down, up = halves(pipe, part, module)
        updates[part, placed(pipe, part, module)] = ALPHA / RANK * up @ down
        if names == "kohya":
            tool = {"unet": "unet", "text_encoder": "te1", "text_encoder_2": "te2"}[part]
            head = f"lora_{tool}_{module.replace('.', '_')}"
            tensors |= {f"{head}.lora_down.weight": down, f"{head}.lora_up.weight": up,
                        f"{head}.alpha": torch.tensor(ALPHA)}  # fmt: skip
        else:
            tensors |= {f"{part}.{module}.lora_A.weight": down,
                        f"{part}.{module}.lora_B.weight": up}  # fmt: skip
    return tensors, updates


def header(layers):
    (part,) = {part for part, _ in layers}
    said = {"lora_alpha": ALPHA, "r": RANK, "target_modules": [name for _, name in layers]}
    return {KEY: json.dumps({f"{part}.{key}": value for key, value in said.items()})}


def entry(name, path, **changes):
    video = {"frames": 9, "fps": 8.0} if name == "ltx" else {}
    return {"arguments": ARGUMENTS.get(name, SHORT), "lora": str(path), **video, **changes}


@pytest.mark.parametrize(("name", "names"), [
    ("sdxl", "peft"), ("sdxl", "kohya"), ("sd3", "peft"), ("flux", "peft"), ("ltx", "peft"),
])  # fmt: skip
def test_the_weights_are_what_the_file_means(name, names, pipes, tmp_path):
    """W + scale alpha / r B A; alpha from the header where no tensor says it."""
    root, pipe = pipes(name)
    layers = KOHYA if names == "kohya" else LAYERS[name]
    tensors, updates = lora_of(pipe, layers, names)
    save_file(tensors, tmp_path / "lora.safetensors",
              header(LAYERS[name]) if names == "peft" else None)  # fmt: skip
    model = model_of(root, **entry(name, tmp_path / "lora.safetensors", lora_scale=SCALE))
    model.load("cpu")
    for part in {part for part, _ in layers}:
        before = getattr(pipe, part).state_dict()
        for key, value in getattr(model._pipeline._pipe, part).state_dict().items():
            change = updates.get((part, key.removesuffix(".weight")))
            expected = before[key] if change is None else before[key] + SCALE * change
            assert torch.allclose(value, expected, rtol=1e-6, atol=1e-6), key
    plain = model_of(root, **{**entry(name, ""), "lora": None})
    assert "lora" not in plain.identity() and model.identity()["lora_scale"] == SCALE
    others = entry(name, tmp_path / "lora.safetensors", lora_scale=1.0)
    assert model_of(root, **others).identity() != model.identity()


@pytest.mark.parametrize("name", LAYERS)
def test_alpha_tensors_count_under_diffusers_names_too(name, pipes, tmp_path):
    """FLUX's own reader drops them unless it is asked: the update was half of what it should be."""
    root, pipe = pipes(name)
    tensors, updates = lora_of(pipe, LAYERS[name])
    for part, module in LAYERS[name]:
        tensors[f"{part}.{module}.alpha"] = torch.tensor(ALPHA)
    save_file(tensors, tmp_path / "lora.safetensors")
    model = model_of(root, **entry(name, tmp_path / "lora.safetensors"))
    model.load("cpu")
    for (part, module), update in updates.items():
        old, new = (getattr(p, part).get_submodule(module).weight.detach()
                    for p in (pipe, model._pipeline._pipe))  # fmt: skip
        assert torch.allclose(new, old + update, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_a_dora_is_refused(name, pipes, tmp_path):
    """diffusers leaves its norms out with a warning, and the rest is another update."""
    root, pipe = pipes(name)
    tensors, _ = lora_of(pipe, LAYERS[name])
    norm = ".".join(LAYERS[name][0]) + ".dora_scale"
    save_file(tensors | {norm: torch.ones(8, 1)}, tmp_path / "lora.safetensors")
    wrong = said(root, name, tmp_path / "lora.safetensors")
    assert f"is a DoRA, whose norms are not merged here ({norm}, 1 in all); save it" in wrong


@pytest.mark.parametrize("name", ["sd3", "sdxl"])
def test_the_image_is_that_of_peft(name, pipes, tmp_path):
    pytest.importorskip("peft", reason="peft is no extra of the tests; by hand it is tested above")
    root, _ = pipes(name)
    pipe = type(pipes(name)[1]).from_pretrained(root)
    pipe.set_progress_bar_config(disable=True)
    tensors, _ = lora_of(pipe, LAYERS[name])
    save_file(tensors, tmp_path / "lora.safetensors", header(LAYERS[name]))
    model = model_of(root, **entry(name, tmp_path / "lora.safetensors", lora_scale=SCALE))
    model.load("cpu")
    (media,) = model.generate([item(seed=5)])
    pipe.load_lora_weights(str(tmp_path / "lora.safetensors"), adapter_name="x")
    pipe.set_adapters(["x"], [SCALE])
    images = []
    for adapters in (True, False):
        if not adapters:
            pipe.disable_lora()
        with torch.inference_mode():
            images.append(pipe(
                prompt="a photo of a cat", height=32, width=32, num_inference_steps=2,
                guidance_scale=3.0, generator=torch.Generator().manual_seed(5), output_type="np",
                return_dict=False, **ARGUMENTS[name],
            )[0][0])  # fmt: skip
    assert nearly_all(media.array / 255 - images[0], 0.5 / 255 + 2e-3)
    assert not nearly_all(images[1] - images[0], 0.5 / 255 + 2e-3)


def said(root, name, path, load=True, **changes):
    with pytest.raises(UserError) as caught:
        model = model_of(root, **entry(name, path, **changes))
        if load:
            model.load("cpu")
    assert str(caught.value).startswith("x.yaml:3: models.net.lora: ")
    return str(caught.value).removeprefix("x.yaml:3: models.net.lora: ")


def test_what_does_not_fit_is_listed(pipes, tmp_path):
    root, pipe = pipes("sd3")
    path = tmp_path / "lora.safetensors"
    tensors, _ = lora_of(pipe, LAYERS["sd3"])
    head = "transformer.transformer_blocks.0.attn.to_q.lora_"
    other = "transformer.transformer_blocks.7.attn.to_q.lora_"
    save_file(tensors | {f"{other}A.weight": torch.zeros(3, 32),
                         f"{other}B.weight": torch.zeros(32, 3),
                         f"{head}A.weight": torch.zeros(3, 33)}, path)  # fmt: skip
    wrong = said(root, "sd3", path)
    assert "transformer.transformer_blocks.7.attn.to_q (no such layer)" in wrong
    assert "transformer.transformer_blocks.0.attn.to_q ((32, 3) by (3, 33), expected (32, " in wrong
    for up, down in ((torch.zeros(32), torch.zeros(3, 32)), (torch.zeros(32, 3), torch.zeros(3)),
                     (torch.zeros(32, 3, 2, 2), torch.zeros(3, 32))):  # fmt: skip
        save_file(tensors | {f"{head}A.weight": down, f"{head}B.weight": up}, path)
        assert f"{tuple(up.shape)} by {tuple(down.shape)}, expected (32, " in said(
            root, "sd3", path
        )
    save_file(tensors | {f"{head[:-5]}alpha": torch.zeros(2),
                         f"{head}A.default.weight": torch.zeros(3, 32)}, path)  # fmt: skip
    wrong = said(root, "sd3", path)
    assert f"{head[:-5]}alpha (expected one number)" in wrong and "weight (comes twice)" in wrong
    del tensors[f"{head}B.weight"]
    save_file(tensors | {"transformer.surprise": torch.zeros(2)}, path)
    wrong = said(root, "sd3", path)
    assert "transformer.surprise (no LoRA tensor)" in wrong
    assert "transformer.transformer_blocks.0.attn.to_q (one half only)" in wrong


def test_files_that_are_something_else(pipes, tmp_path):
    root, pipe = pipes("sd3")
    path = tmp_path / "lora.safetensors"
    assert said(root, "sd3", "lost.safetensors", load=False) == (
        "lost.safetensors: expected a .safetensors file that exists"
    )
    torch.save({}, tmp_path / "lora.pt")
    assert said(root, "sd3", tmp_path / "lora.pt", load=False).endswith(
        "lora.pt: expected a .safetensors file that exists"
    )
    tensors, _ = lora_of(pipe, LAYERS["sd3"])
    save_file(tensors, path, {KEY: json.dumps({"transformer.use_dora": True})})
    assert "asks for transformer.use_dora, which is not merged here" in said(
        root, "sd3", path, load=False
    )
    save_file(tensors, path, {KEY: "["})
    assert f"'{KEY}' in its header cannot be read" in said(root, "sd3", path, load=False)
    path.write_bytes(path.read_bytes()[:-3])
    assert "truncated or damaged" in said(root, "sd3", path, load=False)
    root, pipe = pipes("anyflow")
    save_file({"transformer.x.lora_A.weight": torch.zeros(3, 3)}, path)
    assert "transformer.x (one half only)" in said(root, "ltx", path, arguments=SHORT)
    with pytest.raises(UserError, match="x.yaml:3: Plain takes no LoRA"):
        merge_into({}, type("Plain", (), {}), path, 1.0, "x.yaml:3")


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_alpha_of_the_header_counts_for_wan_too(prefix, wan, tmp_path, monkeypatch):
    """diffusers saves no alpha tensors: alpha taken for the rank would be another update."""
    root, _ = wan
    layer = "blocks.1.attn2.to_v"
    down, up = torch.randn(RANK, 24), torch.randn(24, RANK)
    base = {f"{prefix}{layer}.lora_A.weight": down, f"{prefix}{layer}.lora_B.weight": up}
    said = {KEY: json.dumps({f"{prefix}lora_alpha": ALPHA, f"{prefix}r": RANK})}
    save_file(base, tmp_path / "header.safetensors", said)
    save_file(
        base | {f"{prefix}{layer}.alpha": torch.tensor(ALPHA)}, tmp_path / "tensor.safetensors"
    )
    save_file(base, tmp_path / "neither.safetensors")
    found = []
    for name in ("header", "tensor", "neither"):
        path = str(tmp_path / f"{name}.safetensors")
        model = own_of("wan", root, RcmSampler(kind="rcm"), lora=path)
        found.append(latents_of(model, [item(steps=1)], monkeypatch)[0])
        monkeypatch.undo()
        assert ("lora_alpha" in model.identity()) == (name == "header"), "samples made without it"
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_no_lora_is_named():
    assert find_lora(None, None, "x") is None
