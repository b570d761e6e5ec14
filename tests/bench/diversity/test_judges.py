"""Scores by hand from the networks' own features; tiny random weights through the real loading."""

import numpy as np
import pytest
import torch
from tiny_networks import tiny_clip
from tiny_suite import ENOUGH, SUITE

import rcm_bench
from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError
from rcm_bench.features.clip import Settings as ClipSettings
from rcm_bench.scorers.judges import (
    AestheticSettings,
    ClipScoreSettings,
    HpsSettings,
    PickSettings,
)

WHERE = "benchmarks.x"
PROMPTS = ["a red cat", "two dogs", "a very long dog " * 60]


@pytest.fixture
def images():
    return np.random.default_rng().integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)


def cosines(given, images):
    clip = ClipSettings(**given).load(WHERE, "cpu")
    a, b = torch.tensor(clip(images)), torch.tensor(clip.texts(PROMPTS))
    return torch.nn.functional.cosine_similarity(a, b).numpy()


def test_clip_score_and_hpsv2(tmp_path, images):
    given = tiny_clip(tmp_path)
    expected = cosines(given, images)
    judge = ClipScoreSettings(**given).load(WHERE, "cpu")
    np.testing.assert_allclose(judge(images, PROMPTS), 100 * np.maximum(expected, 0), atol=1e-4)
    judge = HpsSettings(**given).load(WHERE, "cpu")
    np.testing.assert_allclose(judge(images, PROMPTS), expected, atol=1e-6)
    assert HpsSettings(weights="x", sha256="0" * 64).model == "ViT-H-14"


@pytest.mark.parametrize("layout", ["linear", "mlp"])
def test_aesthetic(tmp_path, images, layout):
    given = tiny_clip(tmp_path / layout, name=f"tiny-{layout}")
    sizes = (16, 1) if layout == "linear" else (16, 1024, 128, 64, 16, 1)
    layers = [torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
    names = [""] if layout == "linear" else [f"layers.{i}." for i in (0, 2, 4, 6, 7)]
    tensors = {
        f"{name}{key}": value
        for name, layer in zip(names, layers, strict=True)
        for key, value in layer.state_dict().items()
    }
    path = tmp_path / "head.pth"
    torch.save(tensors, path)
    head = {"weights": str(path), "sha256": file_digest(path)}
    settings = AestheticSettings(**given, head=head, layout=layout)
    x = torch.tensor(ClipSettings(**given).load(WHERE, "cpu")(images))
    x = x / x.norm(dim=1, keepdim=True)
    for layer in layers:
        x = layer(x)
    found = settings.load(WHERE, "cpu")(images, PROMPTS)
    np.testing.assert_allclose(found, x.detach().numpy()[:, 0], atol=1e-5)
    assert settings.identity()["head"] == {"sha256": head["sha256"]}
    gone = AestheticSettings(**given, head={**head, "weights": "gone"})
    with pytest.raises(UserError, match="benchmarks.x.head.weights: gone: no such file"):
        gone.check(WHERE)


def test_pick_score(tmp_path, images):
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = sorted({word for prompt in PROMPTS for word in prompt.split()})
    vocab = {word: place for place, word in enumerate(["<pad>", "<unk>", *words])}
    tokens = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    shared = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    shared["num_attention_heads"] = 2
    config = transformers.CLIPConfig(
        text_config={**shared, "vocab_size": 20, "eos_token_id": 19, "max_position_embeddings": 24},
        vision_config={**shared, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    settings = PickSettings(
        weights=str(tmp_path),
        sha256=file_digest(tmp_path / "model.safetensors"),
        config_sha256=file_digest(tmp_path / "config.json"),
        resize=32,
    )
    judge = settings.load(WHERE, "cpu")
    found = judge(images, PROMPTS)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    inputs = loaded(PROMPTS, padding=True, truncation=True, max_length=24, return_tensors="pt")
    with torch.inference_mode():
        out = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            pixel_values=judge.preparation(images),
        )
    np.testing.assert_allclose(found, out.logits_per_image.diagonal().numpy(), rtol=1e-4)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="tokenizer.json: no such file"):
        settings.load(WHERE, "cpu")


def agreeing_clip(folder, images):
    """Draw a network whose cosines are not all cut off at 0, or there is nothing to average."""
    texts = ENOUGH.splitlines()
    for k in range(50):
        given = tiny_clip(folder / str(k), name=f"tiny-run-{k}")
        clip = ClipSettings(**given).load(WHERE, "cpu")
        a, b = torch.tensor(clip(images[:1])), torch.tensor(clip.texts(texts))
        if (torch.nn.functional.cosine_similarity(a, b) > 0.05).all():
            return given
    raise AssertionError("no network of 50 agrees with its prompts")


def test_a_run_with_clip_score(suite, tmp_path, images):
    given = agreeing_clip(tmp_path, images)
    spelled = ", ".join(f"{key}: '{value}'" for key, value in given.items())
    text = SUITE.replace("{brightness: {}}", f"{{clip_score: {{network: {{{spelled}}}}}}}")
    path = suite(text, ENOUGH)
    outcome = rcm_bench.run(str(path), tmp_path / "out")
    rows = outcome.measurements
    assert outcome.whole and len(rows) == 4 and (rows["n_missing"] == 0).all()
    assert rows["value"].between(0, 100).all()
    assert rows["low"].lt(rows["value"]).all()
