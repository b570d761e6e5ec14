"""NVlabs/FastGen's two ways to sample a student, against plain loops in rectified-flow time."""

import pytest
import torch
from test_meanflow_students import embedded, grid, told_model
from test_rcm_sampler import latents_of
from tiny_models import item, model_of

from rcm_bench.diffusion.families import COSMOS, WAN, size_of
from rcm_bench.diffusion.grids import check_preset, rf_times
from rcm_bench.errors import UserError
from rcm_bench.suite import SAMPLERS, MeanflowSampler, RcmSampler

ONE, FOUR = [0.999, 0.0], [0.999, 0.937, 0.833, 0.624, 0.0]
GRIDS = {
    "fastgen-wan-1.3b": {1: ONE, 2: [0.999, 0.908, 0.0], 4: FOUR},
    "fastgen-wan-14b": {1: ONE, 2: [0.999, 0.833, 0.0]},
    "fastgen-cosmos": {1: ONE, 4: FOUR},
}
CASES = [(preset, steps) for preset, grids in GRIDS.items() for steps in grids]


def called(pipe, family, x, t, text):
    scale = 1000 if family == "wan" else 1
    extra = {} if family == "wan" else {"padding_mask": torch.zeros(1, 1, 32, 32)}
    with torch.no_grad():
        return pipe.transformer(
            hidden_states=x.float(), timestep=torch.tensor([t * scale], dtype=torch.float32),
            encoder_hidden_states=text, return_dict=False, **extra,
        )[0].double()  # fmt: skip


def start(pipe, seed, t, frames):
    rng = torch.Generator().manual_seed(seed)
    text, _ = pipe.encode_prompt("a photo of a cat", do_classifier_free_guidance=False,
                                 max_sequence_length=16)  # fmt: skip
    x = torch.randn(16, (frames - 1) // 4 + 1, 4, 4, generator=rng)[None].double() * t
    return rng, text, x


def plain(pipe, family, seed, times, kind, frames):
    """The student's loop: predict x0, then back by fresh noise or by the noise in the state."""
    rng, text, x = start(pipe, seed, times[0], frames)
    for t, t_next in zip(times, times[1:], strict=False):
        x0 = x - t * called(pipe, family, x, t, text)
        if t_next == 0:
            return x0.float()[0]
        if kind == "sde":
            eps = torch.randn(x.shape[1:], generator=rng)[None].double()
        else:
            eps = (x - (1 - t) * x0) / t
        x = (1 - t_next) * x0 + t_next * eps
    raise AssertionError


@pytest.mark.parametrize(("preset", "steps"), CASES)
@pytest.mark.parametrize("kind", ["sde", "ode"])
def test_students_of_one_time(preset, kind, steps, request, monkeypatch):
    family = preset.split("-")[1]
    root, pipe = request.getfixturevalue(family)
    frames = 5 if family == "wan" else 1
    sampler = RcmSampler(kind="rcm", sigma_max=999.0, preset=preset, sample_type=kind)
    shape = {"frames": frames, "fps": 16.0 if frames > 1 else None}
    model = model_of(family, root, sampler, **shape)
    got, (media,) = latents_of(model, [item(seed=11, steps=steps)], monkeypatch)
    expected = plain(pipe, family, 11, GRIDS[preset][steps], kind, frames)
    assert (got[0] - expected).abs().max() < 1e-6 * float(expected.abs().max())
    assert media.nfe == steps
    if steps > 1:
        other = plain(
            pipe, family, 11, GRIDS[preset][steps], {"sde": "ode", "ode": "sde"}[kind], frames
        )
        assert (got[0] - other).abs().max() > 1e-4


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize(("family", "second"), [("wan", "difference"), ("cosmos", "end")])
def test_mean_velocities_to_the_end(family, second, steps, request, tmp_path, monkeypatch):
    """Every jump ends at 0, of which the network is told; then fresh noise."""
    root, pipe = request.getfixturevalue(family)
    sampler = MeanflowSampler(kind="meanflow", sample_type="sde")
    model, state, frames = told_model(family, root, pipe, second, sampler, tmp_path)
    got, _ = latents_of(model, [item(seed=11, steps=steps)], monkeypatch)
    monkeypatch.undo()
    times = grid(steps)
    rng, text, x = start(pipe, 11, times[0], frames)
    module = getattr(
        pipe.transformer, {"wan": "condition_embedder", "cosmos": "time_embed"}[family]
    )
    first, scale = module.forward, 1000 if family == "wan" else 1
    for t, r in zip(times, times[1:], strict=False):
        seen = torch.tensor((t if second == "difference" else 0) * scale, dtype=torch.float32)

        def both(*args, seen=seen, **named):
            out, more = first(*args, **named), embedded(family, state, seen)
            return (out[0] + more[0], out[1] + more[1], *out[2:])

        with monkeypatch.context() as patch:
            patch.setattr(module, "forward", both)
            x = x - t * called(pipe, family, x, t, text)
        if r > 0:
            x = (1 - r) * x + r * torch.randn(x.shape[1:], generator=rng)[None].double()
    assert (got[0] - x.float()[0]).abs().max() < 1e-6 * float(x.abs().max())


@pytest.mark.parametrize(("preset", "steps"), CASES)
def test_the_grids(preset, steps):
    sampler = RcmSampler(kind="rcm", sigma_max=999.0, preset=preset, sample_type="ode")
    assert rf_times(sampler, steps) == pytest.approx(GRIDS[preset][steps], abs=1e-12)


def test_what_does_not_go_with_a_grid():
    sampler = RcmSampler(kind="rcm", sigma_max=999.0, preset="fastgen-wan-14b", sample_type="ode")
    with pytest.raises(
        ValueError, match="'fastgen-wan-14b' has no grid of 4 steps. Available: 1, 2"
    ):
        rf_times(sampler, 4)
    other = RcmSampler(kind="rcm", preset="fastgen-cosmos", sample_type="ode")
    with pytest.raises(ValueError, match=r"begins at 0.999: expected sigma_max 999.0, got 80.0"):
        rf_times(other, 4)


def entry(**changes):
    return {"kind": "rcm", "sigma_max": 999.0, "preset": "fastgen-wan-14b"} | changes


def test_fastgens_way_is_asked_for_and_kept():
    """Its DMD2 students of Wan2.1 go by ode, those of LADD by sde: a file does not say which."""
    with pytest.raises(ValueError, match=r"'fastgen-wan-14b': expected 'sample_type: ode'.* 'sde'"):
        RcmSampler.model_validate(entry())
    for kind in ("ode", "sde"):
        dumped = RcmSampler.model_validate(entry(sample_type=kind)).model_dump(mode="json")
        assert RcmSampler.model_validate(dumped).sample_type == kind
    with pytest.raises(ValueError, match="'fastgen-wan-1.3b', 'fastgen-wan-14b' or"):
        RcmSampler.model_validate(entry(preset="fastgen", sample_type="ode"))


@pytest.mark.parametrize(
    ("family", "size", "preset", "expected"),
    [
        (WAN, "14B", "fastgen-wan-1.3b", "'fastgen-wan-14b' for wan 14B"),
        (WAN, "1.3B", "fastgen-wan-14b", "'fastgen-wan-1.3b' for wan 1.3B"),
        (COSMOS, "2B-Text2Image", "fastgen-wan-14b", "'fastgen-cosmos' for cosmos 2B"),
        (WAN, None, "fastgen-cosmos", "'fastgen-wan-1.3b' or 'fastgen-wan-14b' for wan$"),
    ],
)
def test_a_grid_of_another_model_is_refused(family, size, preset, expected):
    config = family.architectures[size] if size else {"num_layers": 2, "num_attention_heads": 2}
    assert size_of(family, config) == size
    sampler = RcmSampler.model_validate(entry(preset=preset, sample_type="ode"))
    with pytest.raises(ValueError, match=f"'{preset}' is of another model: expected {expected}"):
        check_preset(sampler, family.name, size)
    fit = expected.split("'")[1]
    check_preset(sampler.model_copy(update={"preset": fit}), family.name, size)


def test_a_model_holds_its_sampler_to_its_size(tmp_path):
    """A plan tells it, without any weights, from the size or from the hub's name."""
    wrong = RcmSampler.model_validate(entry(sample_type="ode"))
    random = {"weights": "random", "architecture": "1.3B"}
    hub = {"weights": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "revision": "0" * 40}
    for given in (random, hub):
        with pytest.raises(
            UserError, match=r"net\.sampler: preset 'fastgen-wan-14b' is of another"
        ):
            model_of("wan", "", wrong, tmp_path, frames=5, fps=16.0, **given)
    model_of("wan", "", wrong, tmp_path, frames=5, fps=16.0, **random | {"architecture": "14B"})
    unnamed = {"weights": "someone/student", "revision": "0" * 40}
    model_of("wan", "", wrong, tmp_path, frames=5, fps=16.0, **unnamed)


@pytest.mark.parametrize(("kind", "other"), [("rcm", "ode"), ("meanflow", "sde")])
def test_samples_that_were_made_before_keep_their_keys(kind, other):
    before = SAMPLERS[kind].model_validate({"kind": kind}).model_dump(mode="json")
    assert "sample_type" not in before
    chosen = SAMPLERS[kind].model_validate({"kind": kind, "sample_type": other})
    dumped = chosen.model_dump(mode="json")
    assert dumped == before | {"sample_type": other}
    assert SAMPLERS[kind].model_validate(dumped) == chosen
