"""The rCM sampler on tiny networks of both families equals a plain loop, to 1e-6."""

import math

import pytest
import torch
from tiny_models import item, model_of

from rcm_bench.diffusion import engine as engine_module
from rcm_bench.suite import RcmSampler

PAPER = {1: [], 2: [1.3], 4: [1.3, 1.0, 0.6], 8: [1.3, 1.0, 1.0, 0.6, 0.6, 0.3, 0.3]}
REPOSITORY = {1: [], 2: [1.5], 4: [1.5, 1.4, 1.0]}


def latents_of(model, items, monkeypatch):
    """Sample through the whole model; return what reaches the autoencoder."""
    seen = []
    real = engine_module.decode

    def spy(vae, latents):
        seen.append(latents.clone())
        return real(vae, latents)

    monkeypatch.setattr(engine_module, "decode", spy)
    model.load("cpu")
    media = list(model.generate(items))
    return torch.stack(seen), media


def plain(pipe, family, seed, later, sigma_max, frames, *, bfloat16=False, scaled=True):
    """The sampler as the paper states it, in TrigFlow, written out with diffusers' pipeline."""
    rng = torch.Generator().manual_seed(seed)
    text, _ = pipe.encode_prompt("a photo of a cat", do_classifier_free_guidance=False,
                                 max_sequence_length=16)  # fmt: skip
    shape = (1, 16, (frames - 1) // 4 + 1, 4, 4)
    x = torch.randn(shape[1:], generator=rng)[None].double()
    times = [math.atan(sigma_max), *later, 0.0]
    if scaled:
        x = x * math.sin(times[0])
    for t, t_next in zip(times, times[1:], strict=False):
        c, s = math.cos(t), math.sin(t)
        scale = 1000 if family == "wan" else 1
        seen = torch.tensor([s / (c + s)], dtype=torch.float32) * scale
        if bfloat16:
            seen = seen.bfloat16().float()
        extra = {} if family == "wan" else {"padding_mask": torch.zeros(1, 1, 32, 32)}
        with torch.no_grad():
            v = pipe.transformer(
                hidden_states=(x / (c + s)).float(),
                timestep=seen,
                encoder_hidden_states=text,
                return_dict=False,
                **extra,
            )[0]
        x0 = (x - s * v.double()) / (c + s)
        fresh = torch.randn(shape[1:], generator=rng)[None].double()
        x = math.cos(t_next) * x0 + math.sin(t_next) * fresh
    return x.float()[0]


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("family", ["wan", "cosmos"])
def test_equals_a_plain_loop(family, steps, request, monkeypatch):
    root, pipe = request.getfixturevalue(family)
    frames = 5 if family == "wan" else 1
    sigma_max = 1600.0 if family == "wan" else 80.0
    sampler = RcmSampler(kind="rcm", sigma_max=sigma_max)
    shape = {"frames": frames, "fps": 16.0 if frames > 1 else None}
    model = model_of(family, root, sampler, **shape)
    items = [item(seed=11, steps=steps), item(seed=12, steps=steps)]
    for one in items:
        got, media = latents_of(model, [one], monkeypatch)
        monkeypatch.undo()
        expected = plain(pipe, family, one.seed, PAPER[steps], sigma_max, frames)
        assert (got[0] - expected).abs().max() < 1e-6 * float(expected.abs().max())
    assert media[0].nfe == steps == model.evaluations(steps)
    assert {"network", "decode"} == set(media[0].seconds)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_named_details_change_the_result_as_written(steps, wan, monkeypatch):
    """bfloat16 timesteps, the repository's times, the start of the older script."""
    root, pipe = wan
    shape = {"frames": 1}
    sampler = RcmSampler(
        kind="rcm", preset="repository", timestep_dtype="bfloat16", start="plain", sigma_max=15.0
    )
    got, _ = latents_of(model_of("wan", root, sampler, **shape), [item(steps=steps)], monkeypatch)
    monkeypatch.undo()
    details = {"bfloat16": True, "scaled": False}
    expected = plain(pipe, "wan", 7, REPOSITORY[steps], 15.0, 1, **details)
    assert (got[0] - expected).abs().max() < 1e-6 * float(expected.abs().max())
    for change in ({"bfloat16": False}, {"scaled": True}):
        other = plain(pipe, "wan", 7, REPOSITORY[steps], 15.0, 1, **(details | change))
        assert (got[0] - other).abs().max() > 1e-5, change


def test_effective_timesteps_of_the_script():
    """Rounded to bfloat16 the repository's times are 988, 932, 852, 608."""
    from rcm_bench.diffusion.grids import rf_times

    times = rf_times(RcmSampler(kind="rcm", preset="repository"), 4)
    rounded = [float(torch.tensor(1000 * t).bfloat16()) for t in times]
    assert rounded == [988, 932, 852, 608, 0]


@pytest.mark.parametrize("family", ["wan", pytest.param("cosmos", marks=pytest.mark.slow)])
def test_a_sample_does_not_depend_on_its_batch(family, request, monkeypatch):
    root, _ = request.getfixturevalue(family)
    model = model_of(family, root, RcmSampler(kind="rcm"))
    items = [item(seed=s, steps=2, prompt=p) for s, p in ((1, "a cat"), (2, "two dogs"), (3, "a"))]
    together, _ = latents_of(model, items, monkeypatch)
    monkeypatch.undo()
    alone, _ = latents_of(model, items[2:], monkeypatch)
    assert (together[2] - alone[0]).abs().max() < 1e-4 * float(alone.abs().max())
    assert (together[0] - together[1]).abs().max() > 1e-2
