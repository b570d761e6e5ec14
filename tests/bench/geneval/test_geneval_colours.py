"""Colours by CLIP: crops, texts and logits against the protocol written out slowly."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_clip import NAME, tiny_clip

from rcm_bench import geneval_colours
from rcm_bench.canonical import file_digest
from rcm_bench.detectors.settings import ColourSettings
from rcm_bench.errors import UserError
from rcm_bench.geneval_colours import crop, load_colours
from rcm_bench.geneval_prompts import COLORS
from rcm_bench.types import Detection


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(torch.seed() % 2**31)
    return tiny_clip(folder)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(geneval_colours, "MODEL", NAME)


def blob(rng, size=(40, 50), name="cup"):
    """A detection with a random mask and its tight box."""
    mask = np.zeros(size, dtype=bool)
    y, x = rng.integers(0, 20, 2)
    h, w = rng.integers(8, 20, 2)
    mask[y : y + h, x : x + w] = rng.random((h, w)) < 0.8
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return Detection(name, np.float32(0.9), tuple(np.float32(edge) for edge in box), mask)


def official_crop(image, detection):
    """As upstream: the whole image over grey through the mask, then PIL's crop of the float box."""
    picture = Image.fromarray(image)
    ground = Image.new("RGB", picture.size, color="#999")
    composite = Image.composite(picture, ground, Image.fromarray(detection.mask))
    return composite.crop([float(edge) for edge in detection.box])


def test_crops_are_upstreams():
    rng = np.random.default_rng()
    for _ in range(20):
        image, found = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), blob(rng)
        mine = np.asarray(crop(image, found))
        np.testing.assert_array_equal(mine, np.asarray(official_crop(image, found)))
        assert (mine == 0x99).any()


def official_colour(model, transform, tokenizer, picture, name):
    """One crop and one class, feature by feature."""
    weights = []
    for color in COLORS:
        texts = [f"a photo of a {color} {name}", f"a photo of a {color}-colored {name}",
                 f"a photo of a {color} object"]  # fmt: skip
        features = [model.encode_text(tokenizer([text]))[0] for text in texts]
        mean = torch.stack([f / f.norm() for f in features]).mean(0)
        weights.append(mean / mean.norm())
    feature = model.encode_image(transform(picture)[None])[0]
    logits = [100 * float((feature / feature.norm()) @ weight) for weight in weights]
    return COLORS[int(np.argmax(logits))]


def plain(colours, crops, least=1e-3):
    """Say which crops are no ties: two colours nearer than rounding have no order to be kept."""
    with torch.no_grad():
        best = torch.cat([colours._logits([crop]) for crop in crops]).topk(2, dim=1).values
    return (best[:, 0] - best[:, 1] > least).tolist()


def test_names_are_upstreams(clip, tmp_path):
    import open_clip

    path = tmp_path / "clip.safetensors"
    save_file({k: v.contiguous() for k, v in clip.state_dict().items()}, path)
    colours = load_colours(
        ColourSettings(weights=str(path), sha256=file_digest(path)), "colours", "cpu"
    )
    rng = np.random.default_rng()
    images = rng.integers(0, 256, (12, 40, 50, 3), dtype=np.uint8)
    images //= rng.integers(1, 9, (12, 1, 1, 3), dtype=np.uint8)
    found = [blob(rng, name=name) for name in ["cup", "bench", "tv remote"] * 4]
    crops = [colours.prepare(i, d) for i, d in zip(images, found, strict=True)]
    kept = plain(colours, crops)
    assert sum(kept) >= 6, "nearly all are ties"
    crops, images, found = (
        [x for x, keep in zip(some, kept, strict=True) if keep] for some in (crops, images, found)
    )
    named = colours(crops)
    _, _, transform = open_clip.create_model_and_transforms(NAME, pretrained=str(path))
    tokenizer = open_clip.get_tokenizer(NAME)
    with torch.no_grad():
        slow = [official_colour(clip, transform, tokenizer, official_crop(i, d), d.name)
                for i, d in zip(images, found, strict=True)]  # fmt: skip
    assert named == slow
    assert len(set(named)) > 1, "one colour for everything; the test is too easy"
    assert colours([]) == []


def test_batches_and_the_cache_of_texts_change_nothing(clip, tmp_path, monkeypatch):
    import open_clip

    path = tmp_path / "clip.pt"
    torch.save(clip.state_dict(), path)
    chosen = ColourSettings(weights=str(path), sha256=file_digest(path))
    colours = load_colours(chosen, "colours", "cpu")
    rng = np.random.default_rng()
    crops = [colours.prepare(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), blob(rng))
             for _ in range(18)]  # fmt: skip
    crops = [crop for crop, keep in zip(crops, plain(colours, crops), strict=True) if keep]
    assert len(crops) >= 9, "nearly all are ties"
    once = colours(crops)
    monkeypatch.setattr(geneval_colours, "BATCH", 2)
    calls = []
    real = colours.model.encode_text
    monkeypatch.setattr(colours.model, "encode_text", lambda x: calls.append(1) or real(x))
    assert colours(crops) == once and calls == []
    assert load_colours(chosen, "colours", "cpu")(crops) == once
    assert open_clip.get_model_config(NAME)["quick_gelu"]


def test_the_real_model_has_quick_gelu_and_its_official_weights():
    """The trap: the same tag on "ViT-L-14" runs these weights with another activation."""
    import open_clip

    name = "ViT-L-14-quickgelu"
    assert open_clip.get_model_config(name)["quick_gelu"]
    assert not open_clip.get_model_config("ViT-L-14").get("quick_gelu", False)
    config = open_clip.get_pretrained_cfg(name, "openai")
    assert "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836" in config["url"]


def test_the_activation_is_forced(clip, tmp_path, monkeypatch):
    """A model configuration that forgets it gets QuickGELU all the same."""
    import json

    import open_clip
    from tiny_clip import TINY

    config = tmp_path / "tiny-forgetful.json"
    config.write_text(json.dumps(TINY))
    open_clip.add_model_config(config)
    monkeypatch.setattr(geneval_colours, "MODEL", "tiny-forgetful")
    path = tmp_path / "clip.pt"
    torch.save(clip.state_dict(), path)
    colours = load_colours(
        ColourSettings(weights=str(path), sha256=file_digest(path)), "colours", "cpu"
    )
    kinds = {type(m).__name__ for m in colours.model.modules()}
    assert "QuickGELU" in kinds and "GELU" not in kinds


def test_faults_are_named(clip, tmp_path, monkeypatch):
    path = tmp_path / "clip.pt"
    path.write_bytes(b"no weights")
    digest = file_digest(path)
    with pytest.raises(UserError, match="clip.pt: cannot be loaded into tiny-quickgelu"):
        load_colours(ColourSettings(weights=str(path), sha256=digest), "colours", "cpu")
    with pytest.raises(UserError, match=f"expected SHA-256 {'0' * 64}, got {digest}"):
        load_colours(ColourSettings(weights=str(path), sha256="0" * 64), "colours", "cpu")
    with pytest.raises(UserError, match="colours: gone.pt: no such file"):
        load_colours(ColourSettings(weights="gone.pt", sha256=digest), "colours", "cpu")
    weights = clip.state_dict()
    del weights["logit_scale"]
    torch.save(weights, path)
    with pytest.raises(UserError, match="logit_scale"):
        load_colours(ColourSettings(weights=str(path), sha256=file_digest(path)), "colours", "cpu")
    monkeypatch.setattr(geneval_colours, "MODEL", "ViT-L-14-quickgelu")
    with pytest.raises(UserError, match="unknown pretrained tag 'openay'.*Available: openai"):
        load_colours(ColourSettings(weights="openay"), "colours", "cpu")
