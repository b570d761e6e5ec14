"""Students' weights in three layouts and four formats: the same network, or a list of faults."""

import io
import json
import pickle
import re

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from test_rcm_sampler import latents_of
from tiny_models import item, model_of
from torch.distributed.checkpoint import metadata

from rcm_bench.canonical import file_digest
from rcm_bench.checkpoints import distributed
from rcm_bench.checkpoints.layouts import diffusers_names, layout_of, original_names
from rcm_bench.diffusion.families import COSMOS, WAN
from rcm_bench.errors import UserError
from rcm_bench.suite import RcmSampler

SAMPLER = RcmSampler(kind="rcm")


def original(state, family, prefix=""):
    """A state dict under original names; rcm's patch embedding of Wan is a matrix."""
    names = original_names(state, family, prefix)
    made = {names[name]: value.clone() for name, value in state.items()}
    key = f"{prefix}patch_embedding.weight"
    if prefix and key in made:
        made[key] = made[key].flatten(1)
    return made


@pytest.mark.parametrize("family", [WAN, COSMOS], ids=lambda f: f.name)
def test_names_of_the_published_sizes_both_ways(family):
    """Every tensor of every published size has an original name, and comes back from it."""
    import diffusers

    for config in family.architectures.values():
        with torch.device("meta"):
            net = getattr(diffusers, family.transformer)(**config)
        names = list(net.state_dict())
        for prefix in ("", "net."):
            there = original_names(names, family.name, prefix)
            assert len(set(there.values())) == len(names)
            unchanged = {n for n in names if there[n] == prefix + n}
            assert all(n.startswith("patch_embedding.") for n in unchanged)
            layout = layout_of(there.values())
            assert layout == ("rcm" if prefix else "original")
            back = diffusers_names(there.values(), family.name, layout)
            assert {back[there[n]]: n for n in names} == {n: n for n in names}
        assert layout_of(names) == "diffusers"


def test_names_as_they_are_published():
    """Spelled by hand from the original code."""
    assert diffusers_names(
        ["net.blocks.11.self_attn.norm_q.weight", "net.head.modulation", "net_ema.head.head.bias",
         "net.blocks.3.ffn.2.bias", "net.time_projection.1.weight"], "wan", "rcm",
    ) == {
        "net.blocks.11.self_attn.norm_q.weight": "blocks.11.attn1.norm_q.weight",
        "net.head.modulation": "scale_shift_table",
        "net.blocks.3.ffn.2.bias": "blocks.3.ffn.net.2.bias",
        "net.time_projection.1.weight": "condition_embedder.time_proj.weight",
    }  # fmt: skip
    assert diffusers_names(
        ["net.blocks.0.adaln_modulation_mlp.2.weight", "net.pos_embedder.seq",
         "net.accum_iteration",
         "net.blocks.0.cross_attn.output_proj.weight", "net.t_embedding_norm.weight",
         "net.blocks.0.self_attn._extra_state"], "cosmos", "rcm",
    ) == {
        "net.blocks.0.adaln_modulation_mlp.2.weight": "transformer_blocks.0.norm3.linear_2.weight",
        "net.blocks.0.cross_attn.output_proj.weight": "transformer_blocks.0.attn2.to_out.0.weight",
        "net.t_embedding_norm.weight": "time_embed.norm.weight",
    }  # fmt: skip


def student_of(pipe):
    """Random weights of the same shapes."""
    return {n: torch.randn_like(v) * 0.2 for n, v in pipe.transformer.state_dict().items()}


def write(state, family, layout, path):
    """Store a student; returns what the suite says, and the digests it needs."""
    if layout == "folder":
        (path / "transformer").mkdir()
        half = len(state) // 2
        parts = {"a.safetensors": list(state)[:half], "b.safetensors": list(state)[half:]}
        for name, keys in parts.items():
            save_file({k: state[k] for k in keys}, path / "transformer" / name)
        index = {"weight_map": {k: name for name, keys in parts.items() for k in keys}}
        file = path / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
        file.write_text(json.dumps(index))
        return path, ()
    if layout in ("diffusers", "original", "rcm"):
        made = state if layout == "diffusers" else original(
            state, family, "net." if layout == "rcm" else "")  # fmt: skip
        save_file(made, path / "student.safetensors")
        return path / "student.safetensors", ()
    if layout == "pt":
        torch.save({"model": original(state, family, "net.")}, path / "student.pt")
        return path / "student.pt", (file_digest(path / "student.pt"),)
    from torch.distributed.checkpoint import save

    both = original(state, family, "net.") | original(
        {n: v * 0 for n, v in state.items()}, family, "net_fake_score.")  # fmt: skip
    save(both, checkpoint_id=path / "dcp", no_dist=True)
    return path / "dcp", (file_digest(path / "dcp" / ".metadata"),)


@pytest.mark.filterwarnings("ignore::UserWarning:torch.distributed")
@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize(("family", "layout"), [
    *(("wan", layout) for layout in ("folder", "original", "rcm", "pt", "dcp")),
    ("cosmos", "rcm"),
    pytest.param("wan", "diffusers", marks=pytest.mark.slow),
    *(pytest.param("cosmos", layout, marks=pytest.mark.slow)
      for layout in ("folder", "diffusers", "original", "pt", "dcp")),
])  # fmt: skip
def test_a_student_in_every_layout(family, layout, request, tmp_path, monkeypatch):
    """It samples what diffusers' own network with the same weights samples."""
    root, pipe = request.getfixturevalue(family)
    state = student_of(pipe)
    path, digests = write(state, family, layout, tmp_path)
    model = model_of(family, root, SAMPLER, transformer=str(path), pickles=digests)
    got, _ = latents_of(model, [item()], monkeypatch)
    monkeypatch.undo()
    folder = tmp_path / "own"
    own = type(pipe.transformer)(**pipe.transformer.config)
    own.load_state_dict(state)
    own.save_pretrained(folder / "transformer")
    for part in ("vae", "text_encoder", "tokenizer", "scheduler", "model_index.json"):
        (folder / part).symlink_to(root / part)
    whole = model_of(family, folder, SAMPLER)
    expected, _ = latents_of(whole, [item()], monkeypatch)
    assert (got - expected).abs().max() < 1e-6 * float(expected.abs().max())
    assert model.digest() != model_of(family, root, SAMPLER).digest()


@pytest.mark.parametrize("layout", ["diffusers", "rcm"])
def test_what_does_not_fit_is_listed(layout, wan, tmp_path):
    root, pipe = wan
    state = student_of(pipe)
    del state["blocks.1.attn1.to_q.bias"]
    state["scale_shift_table"] = torch.zeros(1, 2, 7)
    state["blocks.9.attn1.to_q.bias"] = torch.zeros(24)
    path, _ = write(state, "wan", layout, tmp_path)
    with pytest.raises(UserError) as caught:
        model_of("wan", root, SAMPLER, transformer=str(path))
    said = str(caught.value)
    assert "x.yaml:3: models.net.transformer" in said
    assert "1 missing: blocks.1.attn1.to_q.bias" in said
    assert "1 unexpected: blocks.9.attn1.to_q.bias" in said
    assert "scale_shift_table (1, 2, 7) (expected (1, 2, 24))" in said


def test_what_does_not_fit_in_a_pickle_is_listed_when_it_is_read(wan, tmp_path):
    root, pipe = wan
    state = student_of(pipe)
    del state["proj_out.bias"]
    path, digests = write(state, "wan", "pt", tmp_path)
    model = model_of("wan", root, SAMPLER, transformer=str(path), pickles=digests)
    model.load("cpu")
    with pytest.raises(UserError, match=r"1 missing: proj_out\.bias"):
        list(model.generate([item()]))


def test_another_network_of_the_same_file(wan, tmp_path, monkeypatch):
    root, pipe = wan
    state = student_of(pipe)
    both = original({n: v * 0 for n, v in state.items()}, "wan", "net.") | original(
        state, "wan", "net_ema.")  # fmt: skip
    save_file(both, tmp_path / "both.safetensors")
    entry = {"transformer": str(tmp_path / "both.safetensors")}
    ema, _ = latents_of(model_of("wan", root, SAMPLER, prefix="net_ema", **entry), [item()],
                        monkeypatch)  # fmt: skip
    monkeypatch.undo()
    plain, _ = latents_of(model_of("wan", root, SAMPLER, **entry), [item()], monkeypatch)
    assert not torch.equal(ema, plain)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_pickles(wan, tmp_path, capsys):
    """Never without the option, never with code, whatever the digest."""
    root, pipe = wan
    path, (digest,) = write(student_of(pipe), "wan", "pt", tmp_path)
    with pytest.raises(UserError, match=f"run again with: --allow-pickle {digest}"):
        model_of("wan", root, SAMPLER, transformer=str(path))
    evil = tmp_path / "evil.pt"
    torch.save({"net.x": Evil()}, evil)
    allowed = (file_digest(evil),)
    model = model_of("wan", root, SAMPLER, transformer=str(evil), pickles=allowed)
    model.load("cpu")
    with pytest.raises(UserError, match="cannot be read with weights_only"):
        list(model.generate([item()]))
    assert "code ran" not in capsys.readouterr().out


class Named:
    """Is pickled as the attribute of a class, as Python before 3.11.4 pickles an enumeration's."""

    def __init__(self, owner, name):
        self.given = owner, name

    def __reduce__(self):
        return getattr, self.given


def test_getattr_in_a_table_of_contents_gives_members_of_enumerations_alone():
    encoding = metadata._MEM_FORMAT_ENCODING
    read = distributed._Contents(io.BytesIO(pickle.dumps(Named(encoding, "TORCH_PRESERVE_FORMAT"))))
    assert read.load() is encoding.TORCH_PRESERVE_FORMAT
    for owner, name in ((encoding, "mro"), (torch.Size, "numel")):
        data = io.BytesIO(pickle.dumps(Named(owner, name)))
        with pytest.raises(pickle.UnpicklingError, match=f"{name} does not describe tensors"):
            distributed._Contents(data).load()


@pytest.mark.filterwarnings("ignore::UserWarning:torch.distributed")
def test_a_distributed_checkpoint_cannot_run_code(wan, tmp_path, capsys):
    root, pipe = wan
    path, _ = write(student_of(pipe), "wan", "dcp", tmp_path)
    with pytest.raises(UserError, match="--allow-pickle [0-9a-f]{64}"):
        model_of("wan", root, SAMPLER, transformer=str(path))
    (path / ".metadata").write_bytes(pickle.dumps(Evil()))
    allowed = (file_digest(path / ".metadata"),)
    model = model_of("wan", root, SAMPLER, transformer=str(path), pickles=allowed)
    model.load("cpu")
    with pytest.raises(UserError, match=re.escape("builtins.print does not describe tensors")):
        list(model.generate([item()]))
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("names", ["diffusers", "original"])
def test_lora(names, wan, tmp_path, monkeypatch):
    """W + scale alpha / r B A, whatever the layers are called."""
    root, pipe = wan
    layer, rank, alpha, scale = "blocks.1.attn2.to_v", 3, 6.0, 0.5
    down, up = torch.randn(rank, 24), torch.randn(24, rank)
    if names == "diffusers":
        lora = {f"transformer.{layer}.lora_A.weight": down,
                f"transformer.{layer}.lora_B.weight": up,
                f"transformer.{layer}.alpha": torch.tensor(alpha)}  # fmt: skip
    else:
        base = "diffusion_model.blocks.1.cross_attn.v"
        lora = {f"{base}.lora_down.weight": down, f"{base}.lora_up.weight": up,
                f"{base}.alpha": torch.tensor(alpha)}  # fmt: skip
    save_file(lora, tmp_path / "lora.safetensors")
    entry = {"lora": str(tmp_path / "lora.safetensors"), "lora_scale": scale}
    model = model_of("wan", root, SAMPLER, **entry)
    got, _ = latents_of(model, [item()], monkeypatch)
    monkeypatch.undo()
    state = load_file(root / "transformer" / "diffusion_pytorch_model.safetensors")
    state[f"{layer}.weight"] = state[f"{layer}.weight"] + scale * alpha / rank * up @ down
    save_file(state, tmp_path / "merged.safetensors")
    merged = model_of("wan", root, SAMPLER, transformer=str(tmp_path / "merged.safetensors"))
    expected, _ = latents_of(merged, [item()], monkeypatch)
    assert (got - expected).abs().max() < 1e-5
    plain, _ = latents_of(model_of("wan", root, SAMPLER), [item()], monkeypatch)
    assert (got - plain).abs().max() > 1e-4
    assert model.digest() != model_of("wan", root, SAMPLER).digest()


@pytest.mark.parametrize(("lora", "said"), [
    ({"transformer.blocks.1.attn2.to_v.lora_A.weight": torch.zeros(3, 24)}, "one half only"),
    ({"transformer.blocks.7.attn2.to_v.lora_A.weight": torch.zeros(3, 24),
      "transformer.blocks.7.attn2.to_v.lora_B.weight": torch.zeros(24, 3)}, "no such layer"),
    ({"transformer.blocks.1.attn2.to_v.lora_A.weight": torch.zeros(3, 25),
      "transformer.blocks.1.attn2.to_v.lora_B.weight": torch.zeros(24, 3)}, "24x3 by 3x25"),
    ({"something.else": torch.zeros(3)}, "expected LoRA tensors"),
])  # fmt: skip
def test_lora_that_does_not_fit(lora, said, wan, tmp_path):
    save_file(lora, tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match=said):
        model_of("wan", wan[0], SAMPLER, lora=str(tmp_path / "lora.safetensors"))


def test_a_student_of_another_size(cosmos, tmp_path, monkeypatch):
    """The folder gives text encoder and autoencoder alone, as for Cosmos-Predict2 0.6B."""
    import diffusers

    root, pipe = cosmos
    config = {**tiny_models.cosmos_config(16), "num_layers": 1, "num_attention_heads": 3}
    monkeypatch.setitem(COSMOS.architectures, "small", config)
    small = tiny_models.randomized(diffusers.CosmosTransformer3DModel(**config))
    state = small.state_dict()
    save_file(original(state, "cosmos", "net."), tmp_path / "small.safetensors")
    entry = {"transformer": str(tmp_path / "small.safetensors"), "architecture": "small"}
    model = model_of("cosmos", root, SAMPLER, **entry)
    assert model.identity()["architecture"]["num_attention_heads"] == 3
    got, _ = latents_of(model, [item(steps=1)], monkeypatch)
    text, _ = pipe.encode_prompt("a photo of a cat", do_classifier_free_guidance=False,
                                 max_sequence_length=16)  # fmt: skip
    noise = torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(7))[None]
    t = 80 / 81
    with torch.no_grad():
        v = small(noise * t, torch.tensor([t]), text, padding_mask=torch.zeros(1, 1, 32, 32),
                  return_dict=False)[0]  # fmt: skip
    assert torch.allclose(got, noise * t - t * v, atol=1e-5)
    with pytest.raises(
        UserError, match="got one of 1 blocks of width 48; a student of another size"
    ):
        model_of("cosmos", root, SAMPLER, transformer=entry["transformer"])
    state.pop("proj_out.weight")
    save_file(state, tmp_path / "small.safetensors")
    model = model_of("cosmos", root, SAMPLER, **entry)
    model.load("cpu")
    with pytest.raises(UserError, match=r"1 missing: proj_out\.weight"):
        list(model.generate([item()]))


@pytest.mark.filterwarnings("ignore::UserWarning:torch.distributed")
def test_damaged_checkpoints(wan, tmp_path):
    """Cut off on the way; PyTorch's own exception is no Exception, and would end the run bare."""
    root, pipe = wan
    state = student_of(pipe)
    path, digests = write(state, "wan", "dcp", tmp_path)
    (file,) = path.glob("*.distcp")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    pickled, allowed = write(state, "wan", "pt", tmp_path)
    pickled.write_bytes(pickled.read_bytes()[:-500])
    for entry, digest, said in (
        (path, digests, r"models.net.transformer: .*dcp: cannot be read: \w"),
        (pickled, (file_digest(pickled),), r"student\.pt: cannot be read with weights_only"),
    ):
        model = model_of("wan", root, SAMPLER, transformer=str(entry), pickles=digest)
        model.load("cpu")
        with pytest.raises(UserError, match=said):
            list(model.generate([item()]))
    file.unlink()
    with pytest.raises(UserError, match=r"expected \.distcp files beside \.metadata, got none"):
        model_of("wan", root, SAMPLER, transformer=str(path), pickles=digests)
    assert allowed != (file_digest(pickled),)
    for cut, said in ((40, "truncated or damaged"), (-1, "its header is cut off")):
        whole, _ = write(state, "wan", "diffusers", tmp_path)
        whole.write_bytes(whole.read_bytes()[: -cut if cut > 0 else 0])
        with pytest.raises(UserError, match=f"models.net.transformer: .*student.*{said}"):
            model_of("wan", root, SAMPLER, transformer=str(whole))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"models.net.transformer: .*empty: expected one .*, got none"
    ):
        model_of("wan", root, SAMPLER, transformer=str(tmp_path / "empty"))


def test_a_student_and_a_lora_of_another_family(wan, cosmos, tmp_path):
    save_file(student_of(cosmos[1]), tmp_path / "student.safetensors")
    with pytest.raises(
        UserError, match="expected a network of Wan2.1 text-to-video, got one of Cos"
    ):
        model_of("wan", wan[0], SAMPLER, transformer=str(tmp_path / "student.safetensors"))
    layer = "transformer.blocks.1.attn2.to_v.lora_"
    lora = {f"{layer}A.weight": torch.zeros(3, 24), f"{layer}B.weight": torch.zeros(24, 3)}
    save_file(lora, tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match=r"blocks\.1\.attn2\.to_v\.weight \(no such layer\)"):
        model_of("cosmos", cosmos[0], SAMPLER, lora=str(tmp_path / "lora.safetensors"))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((tmp_path / "lora.safetensors").read_bytes()[:-5])
    with pytest.raises(UserError, match=r"models.net.lora: .*cut.*truncated or damaged"):
        model_of("wan", wan[0], SAMPLER, lora=str(cut))
