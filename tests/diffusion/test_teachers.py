"""Teachers sample what diffusers' own pipelines sample, from the same noise."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_rcm_sampler import latents_of
from tiny_models import item, model_of, nearly_all

from rcm_bench.suite import EulerSampler, RcmSampler, SchedulerSampler, UnipcSampler

PROMPT, NEGATIVE = "a photo of a cat", "blurry"


def noise(seed, frames):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(16, (frames - 1) // 4 + 1, 4, 4, generator=rng)[None]


def close(got, expected):
    scale = float(expected.abs().max())
    assert scale > 0.1
    assert (got - expected).abs().max() < 2e-5 * scale


@pytest.mark.parametrize("sampler", [
    UnipcSampler(kind="unipc", guidance=3.0, shift=3.0),
    UnipcSampler(kind="unipc"),
    SchedulerSampler(kind="scheduler", guidance=3.0),
], ids=repr)  # fmt: skip
def test_wan(sampler, wan, monkeypatch):
    root, pipe = wan
    pipe.set_progress_bar_config(disable=True)
    model = model_of("wan", root, sampler, frames=5, fps=16.0, negative_prompt=NEGATIVE)
    got, media = latents_of(model, [item(steps=4)], monkeypatch)
    expected = pipe(
        PROMPT,
        negative_prompt=NEGATIVE,
        height=32,
        width=32,
        num_frames=5,
        num_inference_steps=4,
        guidance_scale=sampler.guidance,
        max_sequence_length=16,
        latents=noise(7, 5),
        output_type="latent",
    ).frames
    close(got, expected)
    assert media[0].nfe == (8 if sampler.guidance != 1 else 4) == model.evaluations(4)
    frames = pipe.vae  # the same latents give the same frames
    assert frames is not None and media[0].array.shape == (5, 32, 32, 3) and media[0].fps == 16


def test_wan_frames(wan):
    """Frames are those of the pipeline up to rounding to 8 bits."""
    root, pipe = wan
    model = model_of("wan", root, UnipcSampler(kind="unipc"), frames=5, fps=16.0)
    model.load("cpu")
    (media,) = model.generate([item(steps=2)])
    expected = pipe(
        PROMPT, height=32, width=32, num_frames=5, num_inference_steps=2, guidance_scale=1.0,
        max_sequence_length=16, latents=noise(7, 5), output_type="np",
    ).frames[0]  # fmt: skip
    assert nearly_all(media.array / 255 - expected, 0.5 / 255 + 1e-4)
    assert expected.std() > 0.01


def test_cosmos_text_to_image(cosmos, monkeypatch):
    """diffusers' guidance here is c + g (c - u): ours of 4 is its 3."""
    root, pipe = cosmos
    pipe.set_progress_bar_config(disable=True)
    sampler = SchedulerSampler(kind="scheduler", guidance=4.0)
    model = model_of("cosmos", root, sampler, negative_prompt=NEGATIVE)
    got, media = latents_of(model, [item(steps=3)], monkeypatch)
    expected = pipe(
        PROMPT, negative_prompt=NEGATIVE, height=32, width=32, num_inference_steps=3,
        guidance_scale=3.0, max_sequence_length=16, latents=noise(7, 1), output_type="latent",
    ).images  # fmt: skip
    close(got[:, :, 0], expected)
    assert media[0].array.shape == (32, 32, 3) and media[0].fps is None
    assert media[0].nfe == 6


def test_cosmos_image_to_video(cosmos_video, tmp_path, monkeypatch):
    """The first frame is the image's; the pipeline's draw from the encoder's law is fixed to its
    mean, as ours is."""
    root, pipe = cosmos_video
    pipe.set_progress_bar_config(disable=True)
    rng = np.random.default_rng()
    picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "00000.png")
    sampler = SchedulerSampler(kind="scheduler", guidance=4.0)
    model = model_of(
        "cosmos", root, sampler, frames=5, fps=16.0, image_folder=str(tmp_path),
        negative_prompt=NEGATIVE,
    )  # fmt: skip
    got, _ = latents_of(model, [item(steps=3)], monkeypatch)

    from diffusers.pipelines.cosmos import pipeline_cosmos2_video2world as module

    monkeypatch.setattr(module, "retrieve_latents", lambda out, *_, **__: out.latent_dist.mode())
    expected = pipe(
        image=Image.fromarray(picture), prompt=PROMPT, negative_prompt=NEGATIVE, height=32,
        width=32, num_frames=5, num_inference_steps=3, guidance_scale=3.0, fps=16,
        max_sequence_length=16, latents=noise(7, 5), output_type="latent",
    ).frames  # fmt: skip
    close(got, expected)


def test_cosmos_video_from_text_alone(cosmos_video, monkeypatch):
    root, _ = cosmos_video
    model = model_of("cosmos", root, RcmSampler(kind="rcm"), frames=5, fps=16.0)
    got, media = latents_of(model, [item(steps=2)], monkeypatch)
    assert got.shape == (1, 16, 2, 4, 4) and torch.isfinite(got).all()
    assert media[0].array.shape == (5, 32, 32, 3)


def test_euler_is_diffusers_euler_on_its_grid(wan, monkeypatch):
    """Ours is uniform from 1 to 0, then shifted; diffusers' scheduler is given that grid."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    root, pipe = wan
    sampler = EulerSampler(kind="euler", shift=5.0)
    got, _ = latents_of(model_of("wan", root, sampler), [item(steps=4)], monkeypatch)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    u = np.array([1, 0.75, 0.5, 0.25])
    scheduler.set_timesteps(sigmas=(5 * u / (1 + 4 * u)).tolist())
    text, _ = pipe.encode_prompt(PROMPT, do_classifier_free_guidance=False, max_sequence_length=16)
    x = noise(7, 1)
    for t in scheduler.timesteps:
        with torch.no_grad():
            v = pipe.transformer(x, t[None], text, return_dict=False)[0]
        x = scheduler.step(v, t, x, return_dict=False)[0]
    close(got, x)


def test_teacher_and_student_start_from_the_same_latent(wan, monkeypatch):
    root, _ = wan
    seen = []
    from rcm_bench.diffusion import engine

    real = engine.sample

    def spy(sampler, velocity, start, *rest):
        seen.append(start.clone())
        return real(sampler, velocity, start, *rest)

    monkeypatch.setattr(engine, "sample", spy)
    for sampler in (RcmSampler(kind="rcm"), UnipcSampler(kind="unipc", guidance=2.0)):
        model = model_of("wan", root, sampler)
        model.load("cpu")
        list(model.generate([item(seed=5, steps=2), item(seed=6, steps=2)]))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0][:1], noise(5, 1))
