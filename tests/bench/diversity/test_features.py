import numpy as np
import pytest
import torch
from tiny_networks import random_backbone, tiny_clip, tiny_dino

from rcm_bench.errors import UserError
from rcm_bench.features.clip import Settings as ClipSettings
from rcm_bench.features.dino import Settings as DinoSettings
from rcm_bench.features.lpips import Settings as LpipsSettings
from rcm_bench.features.pixels import Settings as PixelSettings
from rcm_bench.features.preparing import IMAGENET_MEAN, IMAGENET_STD, Preparation

WHERE = "benchmarks.feature_diversity.x"


@pytest.fixture
def images():
    return np.random.default_rng().integers(0, 256, (3, 70, 50, 3), dtype=np.uint8)


def test_preparation_is_torchvisions(images):
    from torchvision import transforms

    theirs = transforms.Compose(
        [
            transforms.Resize(32, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(28),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    for stack in (images, images.swapaxes(1, 2)):
        ours = Preparation(32, 28, IMAGENET_MEAN, IMAGENET_STD)(stack)
        from PIL import Image

        expected = torch.stack([theirs(Image.fromarray(image)) for image in stack])
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("version", [2, 3])
def test_dino(tmp_path, images, version):
    settings = DinoSettings(**tiny_dino(tmp_path, version))
    found = settings.load(WHERE, "cpu")(images)
    import transformers

    model = transformers.AutoModel.from_pretrained(tmp_path)
    with torch.inference_mode():
        expected = model(settings.preparation()(images)).pooler_output
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert found.std(0).min() > 0  # images differ
    assert settings.identity() == {
        "sha256": settings.sha256,
        "config_sha256": settings.config_sha256,
        "resize": 32,
        "crop": 28,
        "distance": "cosine",
    }


def test_dino_refuses_other_files(tmp_path):
    given = tiny_dino(tmp_path)
    with pytest.raises(UserError, match="expected SHA-256 0000"):
        DinoSettings(**{**given, "sha256": "0" * 64}).load(WHERE, "cpu")
    with pytest.raises(ValueError, match="a hub id needs 'revision'"):
        DinoSettings(weights="facebook/dinov2-base")
    with pytest.raises(ValueError, match="a branch may move"):
        DinoSettings(weights="facebook/dinov2-base", revision="main")
    gone = DinoSettings(**{**given, "weights": str(tmp_path / "gone")})
    with pytest.raises(UserError, match=rf"{WHERE}.weights: .*config.json: no such file"):
        gone.check(WHERE)


def test_dino_refuses_another_architecture(tmp_path):
    import transformers

    from rcm_bench.canonical import file_digest

    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    transformers.ViTModel(config).save_pretrained(tmp_path)
    settings = DinoSettings(
        weights=str(tmp_path),
        sha256=file_digest(tmp_path / "model.safetensors"),
        config_sha256=file_digest(tmp_path / "config.json"),
    )
    with pytest.raises(UserError, match="expected one of dinov2, .* got 'vit'"):
        settings.load(WHERE, "cpu")


def test_clip(tmp_path, images):
    import open_clip
    from PIL import Image

    settings = ClipSettings(**tiny_clip(tmp_path))
    clip = settings.load(WHERE, "cpu")
    model, _, transform = open_clip.create_model_and_transforms(
        settings.model, pretrained=settings.weights
    )
    with torch.inference_mode():
        pictures = torch.stack([transform(Image.fromarray(image)) for image in images])
        expected = model.eval().encode_image(pictures).numpy()
    np.testing.assert_allclose(clip(images), expected, atol=1e-5)
    assert clip.texts(["a dog", "a cat"]).shape == (2, 16)
    with pytest.raises(UserError, match="unknown architecture 'ViT-B-23'.*Did you mean 'ViT-B-32'"):
        ClipSettings(weights=settings.weights, sha256=settings.sha256, model="ViT-B-23").load(
            WHERE, "cpu"
        )


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_is_the_squared_distance_of_its_points(tmp_path, images, net):
    settings = LpipsSettings(**random_backbone(tmp_path, net), sketch=None)
    lpips = settings.load(WHERE, "cpu")
    points = lpips(images).astype(np.float64)
    pixels = lpips.prepared(images)
    with torch.inference_mode():
        for i, j in [(0, 1), (0, 2), (1, 2)]:
            # torchmetrics' own forward, on the same two images
            theirs = float(lpips.model(pixels[i : i + 1], pixels[j : j + 1]))
            ours = float(((points[i] - points[j]) ** 2).sum())
            assert ours == pytest.approx(theirs, rel=1e-4)
            assert theirs > 0


def test_lpips_backbone_is_the_files(tmp_path):
    given = random_backbone(tmp_path)
    lpips = LpipsSettings(**given).load(WHERE, "cpu")
    weights = torch.load(given["weights"], weights_only=True)
    own = lpips.model.net.state_dict()
    assert torch.equal(own["slices.0.0.weight"], weights["features.0.weight"])
    del weights["features.3.squeeze.weight"]
    torch.save(weights, tmp_path / "part.pth")
    from rcm_bench.canonical import file_digest

    part = {
        "weights": str(tmp_path / "part.pth"),
        "sha256": file_digest(tmp_path / "part.pth"),
        "net": "squeeze",
    }
    with pytest.raises(UserError, match="1 missing: slices.1.3.squeeze.weight$"):
        LpipsSettings(**part).load(WHERE, "cpu")


def test_sketch_keeps_distances_on_average(tmp_path):
    rng = np.random.default_rng()
    images = rng.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    given = random_backbone(tmp_path)
    whole = LpipsSettings(**given, sketch=None).load(WHERE, "cpu")(images).astype(np.float64)
    folded = LpipsSettings(**given, sketch=4096).load(WHERE, "cpu")(images).astype(np.float64)
    assert folded.shape == (12, 4096) and whole.shape[1] > 20_000

    def distances(points):
        gaps = points[:, None] - points[None]
        return (gaps**2).sum(-1)[np.triu_indices(12, 1)]

    relative = distances(folded) / distances(whole) - 1
    assert abs(relative).max() < 6 * np.sqrt(2 / 4096)
    assert 0 < relative.std() < 2 * np.sqrt(2 / 4096)


def test_pickled_code_is_refused(tmp_path):
    from rcm_bench.canonical import file_digest

    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    settings = LpipsSettings(
        weights=str(tmp_path / "evil.pth"), sha256=file_digest(tmp_path / "evil.pth")
    )
    with pytest.raises(UserError, match="expected a file of plain tensors"):
        settings.load(WHERE, "cpu")


def test_pixels():
    image = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    image[0, :2, :, 0] = 255  # upper half red
    found = PixelSettings(size=2).load(WHERE, "cpu")(image)
    expected = np.zeros((3, 2, 2))
    expected[0, 0] = 1
    np.testing.assert_allclose(found[0] * np.sqrt(12), expected.ravel(), atol=1e-6)
