"""MeanFlow on tiny networks with a second time: a plain loop, files of every form, wrong pairs."""

import math

import pytest
import torch
from safetensors.torch import save_file
from test_rcm_sampler import latents_of
from tiny_models import item, model_of
from torch.nn.functional import linear, silu

from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError
from rcm_bench.suite import EulerSampler, MeanflowSampler, RcmSampler

SAMPLER = MeanflowSampler(kind="meanflow")


def second_of(family):
    """Random weights of a second time embedding under NVlabs/FastGen's names; D is 24 or 32."""
    shapes = {
        "wan": {"time_embedder.linear_1.weight": (24, 32), "time_embedder.linear_1.bias": (24,),
                "time_embedder.linear_2.weight": (24, 24), "time_embedder.linear_2.bias": (24,),
                "time_proj.weight": (144, 24), "time_proj.bias": (144,)},
        "cosmos": {"t_embedder.linear_1.weight": (32, 32), "t_embedder.linear_2.weight": (96, 32),
                   "norm.weight": (32,)},
    }[family]  # fmt: skip
    return {f"r_embedder.{name}": torch.randn(shape) * 0.3 for name, shape in shapes.items()}


def student_of(pipe, family):
    return {**pipe.transformer.state_dict(), **second_of(family)}


def sines(t, width):
    """Cosines before sines, of frequencies from 1 down to nearly 1/10000."""
    half = width // 2
    angles = t * torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    return torch.cat([angles.cos(), angles.sin()])[None]


def embedded(family, state, t):
    """The second embedding of one time, layer by layer."""

    def layer(x, name):
        name = f"r_embedder.{name}"
        return linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    wave = sines(t, 32)
    if family == "wan":
        out = layer(silu(layer(wave, "time_embedder.linear_1")), "time_embedder.linear_2")
        return out, layer(silu(out), "time_proj")
    normed = wave * torch.rsqrt(wave.square().mean() + 1e-6) * state["r_embedder.norm.weight"]
    return layer(silu(layer(wave, "t_embedder.linear_1")), "t_embedder.linear_2"), normed


def plain(pipe, family, state, seed, times, second, frames, monkeypatch):
    """MeanFlow's algorithm 2 around diffusers' network, whose embedding is replaced by a sum."""
    rng = torch.Generator().manual_seed(seed)
    text, _ = pipe.encode_prompt("a photo of a cat", do_classifier_free_guidance=False,
                                 max_sequence_length=16)  # fmt: skip
    x = torch.randn(16, (frames - 1) // 4 + 1, 4, 4, generator=rng)[None].double() * times[0]
    scale = 1000 if family == "wan" else 1
    module = getattr(
        pipe.transformer, {"wan": "condition_embedder", "cosmos": "time_embed"}[family]
    )
    first = module.forward
    extra = {} if family == "wan" else {"padding_mask": torch.zeros(1, 1, 32, 32)}
    for t, r in zip(times, times[1:], strict=False):
        seen = torch.tensor((t - r if second == "difference" else r) * scale, dtype=torch.float32)

        def both(*args, seen=seen, **named):
            out, more = first(*args, **named), embedded(family, state, seen)
            return (out[0] + more[0], out[1] + more[1], *out[2:])

        with monkeypatch.context() as patch, torch.no_grad():
            patch.setattr(module, "forward", both)
            u = pipe.transformer(
                hidden_states=x.float(), timestep=torch.tensor([t * scale], dtype=torch.float32),
                encoder_hidden_states=text, return_dict=False, **extra,
            )[0]  # fmt: skip
        x = x - (t - r) * u.double()
    return x.float()[0]


def told_model(family, root, pipe, second, sampler, folder):
    """Return a model whose student is told two times, the student's tensors, and its frames."""
    frames = 5 if family == "wan" else 1
    state = student_of(pipe, family)
    save_file(state, folder / "student.safetensors")
    model = model_of(
        family, root, sampler, transformer=str(folder / "student.safetensors"),
        second_time=second, frames=frames, fps=16.0 if frames > 1 else None,
    )  # fmt: skip
    return model, state, frames


def grid(steps):
    return [0.999 * (1 - k / steps) for k in range(steps + 1)]


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize(("family", "second"), [("wan", "difference"), ("cosmos", "end")])
def test_equals_a_plain_loop(family, second, steps, request, tmp_path, monkeypatch):
    root, pipe = request.getfixturevalue(family)
    model, state, frames = told_model(family, root, pipe, second, SAMPLER, tmp_path)
    got, media = latents_of(model, [item(seed=11, steps=steps)], monkeypatch)
    monkeypatch.undo()
    arguments = (pipe, family, state, 11, grid(steps))
    expected = plain(*arguments, second, frames, monkeypatch)
    assert (got[0] - expected).abs().max() < 1e-6 * float(expected.abs().max())
    other = plain(
        *arguments, {"end": "difference", "difference": "end"}[second], frames, monkeypatch
    )
    assert (got[0] - other).abs().max() > 1e-4
    assert media[0].nfe == steps == model.evaluations(steps)


def test_the_grid():
    """Euler's shifted grid, scaled to begin at the start; NVlabs/FastGen's where it is uniform."""
    from rcm_bench.diffusion.grids import rf_times

    assert rf_times(SAMPLER, 4) == pytest.approx([0.999, 0.74925, 0.4995, 0.24975, 0], abs=1e-12)
    shifted = MeanflowSampler(kind="meanflow", start=1.0, shift=5.0)
    assert rf_times(shifted, 4) == pytest.approx([1, 0.9375, 5 / 6, 0.625, 0], abs=1e-12)


def test_a_video_goes_on_from_a_still_frame(cosmos_video, tmp_path, monkeypatch):
    """Known frames stay as they are on every jump, at both of their times."""
    import numpy as np
    from PIL import Image

    root, pipe = cosmos_video
    save_file(student_of(pipe, "cosmos"), tmp_path / "student.safetensors")
    rng = np.random.default_rng()
    picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "00000.png")
    shape = {"frames": 5, "fps": 16.0, "second_time": "difference",
             "transformer": str(tmp_path / "student.safetensors")}  # fmt: skip
    known = model_of("cosmos", root, SAMPLER, image_folder=str(tmp_path), **shape)
    got, _ = latents_of(known, [item(steps=2)], monkeypatch)
    monkeypatch.undo()
    from rcm_bench.diffusion.decode import encode_image

    with torch.no_grad():
        frame = encode_image(pipe.vae, picture)
    assert (got[0][:, :1] - frame).abs().max() < 1e-5 * float(frame.abs().max())
    free, _ = latents_of(model_of("cosmos", root, SAMPLER, **shape), [item(steps=2)], monkeypatch)
    assert torch.isfinite(free).all() and (free[0][:, 1:] - got[0][:, 1:]).abs().max() > 1e-3


def fastgen(state, head="transformer."):
    """What NVlabs/FastGen's Wan keeps: diffusers' network, and a head that training alone uses."""
    kept = {f"{head}{name}": value.clone() for name, value in state.items()}
    return {**kept, f"{head}logvar_linear.weight": torch.randn(1, 24),
            f"{head}logvar_linear.bias": torch.randn(1)}  # fmt: skip


def write(state, form, folder):
    """Store a student as FastGen does; returns what the suite says, and the digests it needs."""
    if form == "pth":  # without FSDP: networks by name, and all that resuming needs
        held = {"net": fastgen(state), "ema_1": fastgen({n: v * 0 for n, v in state.items()})}
        whole = {"model": held, "optimizer": {"net": {"state": {}}}, "iteration": 7}
        torch.save(whole, folder / "0000007.pth")
        return {"transformer": str(folder / "0000007.pth")}, (file_digest(folder / "0000007.pth"),)
    if form == "dcp":  # with FSDP: a folder for each network
        from torch.distributed.checkpoint import save

        save(fastgen(state), checkpoint_id=folder / "7.net_model", no_dist=True)
        digest = file_digest(folder / "7.net_model" / ".metadata")
        return {"transformer": str(folder / "7.net_model")}, (digest,)
    made = fastgen(state) if form == "fastgen" else {
        "net": lambda: {f"net.{name}": value.clone() for name, value in state.items()},
        "diffusers": lambda: state,
    }[form]()  # fmt: skip
    save_file(made, folder / "student.safetensors")
    return {"transformer": str(folder / "student.safetensors")}, ()


@pytest.mark.filterwarnings("ignore::UserWarning:torch.distributed")
@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize("form", ["fastgen", "pth", "dcp", "net"])
def test_a_student_in_every_form(form, wan, tmp_path, monkeypatch):
    root, pipe = wan
    state = student_of(pipe, "wan")
    entry, digests = write(state, form, tmp_path)
    model = model_of("wan", root, SAMPLER, second_time="difference", pickles=digests, **entry)
    got, _ = latents_of(model, [item()], monkeypatch)
    monkeypatch.undo()
    expected = plain(pipe, "wan", state, 7, grid(2), "difference", 1, monkeypatch)
    assert (got[0] - expected).abs().max() < 1e-6 * float(expected.abs().max())


def test_averaged_weights_by_their_name(wan, tmp_path, monkeypatch):
    root, pipe = wan
    entry, digests = write(student_of(pipe, "wan"), "pth", tmp_path)
    entry |= {"second_time": "difference", "pickles": digests}
    ema = model_of("wan", root, SAMPLER, prefix="ema_1", **entry)
    got, _ = latents_of(ema, [item()], monkeypatch)
    start = torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(7)) * 0.999
    assert torch.allclose(got[0], start)  # a network of zeros stays where it is


def test_a_whole_pipeline_with_a_second_time(wan, tmp_path, monkeypatch):
    root, pipe = wan
    state = student_of(pipe, "wan")
    folder = tmp_path / "own"
    pipe.transformer.save_pretrained(folder / "transformer")
    for part in ("vae", "text_encoder", "tokenizer", "scheduler", "model_index.json"):
        (folder / part).symlink_to(root / part)
    with pytest.raises(UserError, match=r"models.net.weights: .* 6 missing: r_embedder\.time_emb"):
        model_of("wan", folder, SAMPLER, second_time="end")
    save_file(state, folder / "transformer" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError, match=r"models.net.weights: .* has a second time embedding"):
        model_of("wan", folder, RcmSampler(kind="rcm"))
    model = model_of("wan", folder, SAMPLER, second_time="end")
    got, _ = latents_of(model, [item()], monkeypatch)
    monkeypatch.undo()
    expected = plain(pipe, "wan", state, 7, grid(2), "end", 1, monkeypatch)
    assert (got[0] - expected).abs().max() < 1e-6 * float(expected.abs().max())


def said(*arguments, **changes):
    with pytest.raises(UserError) as caught:
        model_of(*arguments, **changes)
    return str(caught.value).removeprefix("x.yaml:3: models.net.")


@pytest.mark.parametrize("sampler", [RcmSampler(kind="rcm"), EulerSampler(kind="euler")], ids=repr)
def test_a_network_with_a_second_time_needs_meanflow(sampler, wan, tmp_path):
    root, pipe = wan
    save_file(student_of(pipe, "wan"), tmp_path / "student.safetensors")
    entry = {"transformer": str(tmp_path / "student.safetensors")}
    assert said("wan", root, sampler, second_time="difference", **entry) == (
        "sampler: 'second_time: difference' is a network of mean velocities between two times: "
        f"expected a sampler of kind 'meanflow', got '{sampler.kind}'"
    )
    told = said("wan", root, sampler, **entry)
    assert (
        "student.safetensors: has a second time embedding (r_embedder): a student of mean" in told
    )
    assert "'second_time: difference' (t - r, as NVlabs/FastGen trains)" in told


@pytest.mark.parametrize("family", ["wan", "cosmos"])
def test_meanflow_needs_a_network_with_a_second_time(family, request, tmp_path):
    root, pipe = request.getfixturevalue(family)
    assert said(family, root, SAMPLER) == (
        "sampler: 'meanflow' jumps from one time to another, and this network is told one; a "
        "student with a second time embedding says so by 'second_time: difference' or 'end'"
    )
    save_file(pipe.transformer.state_dict(), tmp_path / "student.safetensors")
    path = str(tmp_path / "student.safetensors")
    count, first = (6, "time_embedder") if family == "wan" else (3, "norm.weight")
    assert f"{count} missing: r_embedder.{first}" in said(
        family, root, SAMPLER, transformer=path, second_time="end"
    )


def test_a_pickle_is_asked_when_it_is_read(wan, tmp_path):
    root, pipe = wan
    state = student_of(pipe, "wan")
    entry, digests = write(state, "pth", tmp_path)
    model = model_of("wan", root, RcmSampler(kind="rcm"), pickles=digests, **entry)
    model.load("cpu")
    with pytest.raises(UserError, match="has a second time embedding"):
        list(model.generate([item()]))
    del state["r_embedder.time_proj.bias"]
    entry, digests = write(state, "pth", tmp_path)
    model = model_of("wan", root, SAMPLER, second_time="end", pickles=digests, **entry)
    model.load("cpu")
    with pytest.raises(UserError, match=r"1 missing: r_embedder\.time_proj\.bias"):
        list(model.generate([item()]))


def test_what_the_second_time_sees_is_part_of_the_sample(wan, tmp_path):
    root, pipe = wan
    save_file(student_of(pipe, "wan"), tmp_path / "student.safetensors")
    entry = {"transformer": str(tmp_path / "student.safetensors")}
    one, two = (model_of("wan", root, SAMPLER, second_time=seen, **entry).identity()
                for seen in ("difference", "end"))  # fmt: skip
    assert one["second_time"] == "difference" and one != two
    assert "second_time" not in model_of("wan", root, RcmSampler(kind="rcm")).identity()


@pytest.mark.parametrize("mode", ["model", "group"])
def test_offloading_changes_no_bit(mode, wan, tmp_path):
    root, pipe = wan
    save_file(student_of(pipe, "wan"), tmp_path / "student.safetensors")
    entry = {"transformer": str(tmp_path / "student.safetensors"), "second_time": "end"}
    made = []
    for chosen in ("auto", mode):
        model = model_of("wan", root, SAMPLER, memory=chosen, **entry)
        model.load("cpu")
        made += model.generate([item()])
    assert (made[0].array == made[1].array).all() and made[1].made["memory"] == mode


def test_random_weights_with_a_second_time(tmp_path, monkeypatch):
    """For throughput: the second embedding is computed too."""
    from rcm_bench.diffusion import families, loading

    tiny = {**families.WAN.architectures["1.3B"], "num_attention_heads": 1, "ffn_dim": 64,
            "num_layers": 1, "attention_head_dim": 24, "text_dim": 32}  # fmt: skip
    monkeypatch.setitem(families.WAN.architectures, "1.3B", tiny)
    monkeypatch.setattr(loading, "VAE", {"base_dim": 3, "z_dim": 16, "num_res_blocks": 1})
    made = []
    for second in ("difference", "end"):
        model = model_of("wan", "random", SAMPLER, folder=tmp_path, architecture="1.3B",
                         dtype="bfloat16", second_time=second)  # fmt: skip
        model.load("cpu")
        made += model.generate([item(steps=2)])
    assert made[0].finite and (made[0].array != made[1].array).any()
