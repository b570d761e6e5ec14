"""Each native dimension, from decoded frames to its parts, against the protocol in float64.

Networks are small and random, the same numbers on both sides; what the protocol says is written
here and in `native_protocol`, from the package vbench 0.1.5. Motion has a file of its own.
"""

import copy
from pathlib import Path
from types import SimpleNamespace

import native_protocol as protocol
import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from rcm_bench.vbench.native.evaluate import Networks, evaluate
from rcm_bench.vbench.native.weights import WeightFiles
from rcm_bench.video import Video

WIDTH = 32
LOGIT_SCALE = 73.0
"""CLIP's own is 100, as is what style is divided by: another number tells them apart."""
OIL_PAINTING = (49406, 2870, 3086, 49407)
"""OpenAI's byte pairs: start, "oil", "painting", end; then noughts up to 77."""
NEAR = 1e-5
"""Of values of order 1 in float32; the smallest fault that these tests are for makes 1e-3."""


@pytest.fixture(autouse=True)
def torchvision():
    pytest.importorskip("torchvision", reason="needs torchvision")


class Projection:
    """Stands for CLIP: every pixel counts in every feature, and every word in a text's."""

    def __init__(self):
        weight = torch.randn(WIDTH, 3, 224, 224) / 224
        self.visual = SimpleNamespace(conv1=SimpleNamespace(weight=weight))
        self.logit_scale = torch.tensor(LOGIT_SCALE).log()
        self.words = torch.randn(49408, WIDTH)
        self.words[0] = 0

    def encode_image(self, pixels):
        return pixels.flatten(1) @ self.visual.conv1.weight.flatten(1).to(pixels.dtype).T

    def encode_text(self, tokens):
        assert tokens.shape == (1, 77)
        return self.words[tokens].sum(1)


@pytest.fixture
def numbers(rng, monkeypatch):
    """Random numbers; two frames at a time, so that five are three chunks."""
    torch.manual_seed(rng.randrange(2**32))
    for name in ("clip_features", "subject_consistency", "imaging_quality", "appearance_style"):
        monkeypatch.setattr(f"rcm_bench.vbench.native.{name}.BATCH", 2)
    return np.random.default_rng(rng.randrange(2**32))


def video(numbers, height=243, width=539):
    """Return five frames: one, one near it, their negatives, the first again but for noise.

    So the likeness to the frame before goes +, -, +, - and that to the first +, -, -, +. The other
    conversion is another film, so that no dimension may take the wrong one.
    """
    first = numbers.integers(0, 256, (height, width, 3))
    film = np.stack((first, first, 255 - first, 255 - first, first))
    film[1:] += numbers.integers(-60, 61, film[1:].shape)
    other = numbers.integers(0, 256, film.shape, dtype=np.uint8)
    return Video(frames=film.clip(0, 255).astype(np.uint8), fps=16.0, frames_bt601=other)


def found(video, dimension, style=None, **loaded):
    networks = Networks(files=WeightFiles(folder=Path("weights")))
    vars(networks).update(loaded)  # as if they had been loaded
    (parts,) = evaluate(video, [dimension], networks, style).values()
    return parts


def likenesses(features):
    """Return cosines to the frame before and to the first, of shape (T - 1,) each."""
    return cosine_similarity(features[:-1], features[1:]), cosine_similarity(
        features[:1], features[1:]
    )


def consistency(features):
    """Return the mean over all but the first frame of both likenesses, none below 0."""
    before, first = likenesses(features.double())
    pairs = zip(before.tolist(), first.tolist(), strict=True)
    return sum((max(0.0, a) + max(0.0, b)) / 2 for a, b in pairs) / len(before)


def test_background_consistency(numbers):
    clip, shown = Projection(), video(numbers)
    features = clip.encode_image(protocol.clip(shown.frames))
    before, first = likenesses(features)
    assert before.sign().tolist() == [1, -1, 1, -1] and first.sign().tolist() == [1, -1, -1, 1]
    parts = found(shown, "background_consistency", clip_b=clip, clip_l=Projection())
    assert parts.value == pytest.approx(consistency(features), abs=NEAR)
    assert parts.denominator == 4


def small_dino():
    """Return a small transformer of DINO's kind, whose tokens look at some patches more."""
    timm = pytest.importorskip("timm.models.vision_transformer", reason="needs timm")
    sizes = {"embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 0}
    dino = timm.VisionTransformer(img_size=224, patch_size=16, **sizes).eval()
    for parameter in dino.parameters():
        fan = parameter[0].numel() if parameter.dim() in (2, 4) else 4
        parameter.data = torch.randn_like(parameter) * 2 / fan**0.5
    return dino


def class_tokens(dino, pixels):
    """Return DINO's class tokens in float64, the embedding of patches and places by hand."""
    dino = copy.deepcopy(dino).double()
    rows, columns = (length // 16 for length in pixels.shape[-2:])
    cut = pixels[..., : 16 * rows, : 16 * columns]
    patches = torch.nn.functional.unfold(cut, 16, stride=16).transpose(1, 2)
    embedding = dino.patch_embed.proj
    patches = patches @ embedding.weight.flatten(1).T + embedding.bias
    start = dino.cls_token.expand(len(patches), 1, -1)
    tokens = torch.cat((start, patches), dim=1)
    tokens = tokens + protocol.dino_positions(dino.pos_embed, *pixels.shape[-2:])
    return dino.norm(dino.blocks(tokens))[:, 0]


@pytest.mark.parametrize("size", [(243, 539), (250, 240), (250, 250)], ids=str)
def test_subject_consistency(numbers, size):
    from rcm_bench.vbench.native.class_token import last_of_timm

    dino, shown = small_dino(), video(numbers, *size)
    with torch.inference_mode():
        expected = consistency(class_tokens(dino, protocol.dino(shown.frames)))
    dino.blocks[-1] = last_of_timm(dino.blocks[-1])
    parts = found(shown, "subject_consistency", dino=dino)
    assert parts.value == pytest.approx(expected, abs=NEAR)
    assert parts.denominator == 4


def test_aesthetic_quality(numbers):
    clip, head, shown = Projection(), torch.nn.Linear(WIDTH, 1), video(numbers)
    features = clip.encode_image(protocol.clip(shown.frames))
    unit = features / features.square().sum(1, keepdim=True).sqrt()
    with torch.inference_mode():
        expected = (unit @ head.weight[0].double() + head.bias.double()).mean() / 10
    parts = found(shown, "aesthetic_quality", clip_b=Projection(), clip_l=clip, aesthetic=head)
    assert parts.value == pytest.approx(float(expected), abs=NEAR / 10)
    assert parts.denominator == 1


def test_appearance_style(numbers):
    pytest.importorskip("open_clip", reason="needs open_clip")
    clip, shown = Projection(), video(numbers)
    features = clip.encode_image(protocol.clip_pil(shown.frames))
    text = clip.words[list(OIL_PAINTING)].sum(0, keepdim=True).double()
    expected = LOGIT_SCALE * cosine_similarity(features, text).mean() / 100
    parts = found(shown, "appearance_style", "oil painting", clip_b=clip, clip_l=Projection())
    assert parts.value == pytest.approx(float(expected), abs=NEAR)
    assert parts.denominator == 5


@pytest.mark.parametrize("size", [(243, 539), (120, 140)], ids=str)
def test_imaging_quality(numbers, size):
    arch = pytest.importorskip("pyiqa.archs.musiq_arch", reason="needs pyiqa")
    musiq = arch.MUSIQ(pretrained=False, hidden_size=24, mlp_dim=32, num_layers=2).eval()
    musiq.head.weight.data *= 30
    whole = video(numbers, *size)
    shown = Video(frames=whole.frames[:3], fps=16.0, frames_bt601=whole.frames_bt601[:3])
    with torch.inference_mode():
        opinions = copy.deepcopy(musiq).double()(protocol.musiq(shown.frames))
    assert opinions.shape == (3, 1) and float(opinions.std()) > 0
    parts = found(shown, "imaging_quality", musiq=musiq)
    assert parts.value == pytest.approx(float(opinions.mean()) / 100, rel=1e-4, abs=NEAR)
    assert parts.denominator == 1


def test_temporal_flickering(numbers):
    shown = video(numbers)
    film = shown.frames_bt601.astype(np.float64)
    expected = (255 - np.mean([np.abs(film[t] - film[t + 1]).mean() for t in range(4)])) / 255
    parts = found(shown, "temporal_flickering")
    assert parts == (pytest.approx(expected, rel=1e-12), 1)


def test_the_ends_of_what_compares_frames():
    still = np.full((3, 130, 150, 3), 77, dtype=np.uint8)
    flicker = np.stack((still[0] * 0, still[0] * 0 + 255, still[0] * 0))
    for film, end in ((still, 1.0), (flicker, 0.0)):
        shown = Video(frames=film, fps=16.0, frames_bt601=film)
        assert found(shown, "temporal_flickering") == (end, 1)
    clip = Projection()
    shown = Video(frames=still, fps=16.0, frames_bt601=still)
    assert found(shown, "background_consistency", clip_b=clip).value == pytest.approx(1, abs=1e-6)
    # Features without the mean's part: black and white lie on opposite sides of the first axis.
    clip.visual.conv1.weight[:] = torch.eye(WIDTH)[0, :, None, None, None]
    shown = Video(frames=flicker[:2], fps=16.0, frames_bt601=flicker[:2])
    assert found(shown, "background_consistency", clip_b=clip) == (0.0, 1)
