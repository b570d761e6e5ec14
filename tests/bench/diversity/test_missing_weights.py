"""A scorer whose weights are not there says which file papers have, before anything is sampled."""

import pytest
from tiny_suite import SUITE

import rcm_bench
from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError

DIGEST = "0" * 64
FILE = f"weights: gone.pt, sha256: '{DIGEST}'"
FOLDER = f"weights: gone, sha256: '{DIGEST}', config_sha256: '{DIGEST}'"
CLIP = f"{FILE}, model: ViT-B-32-quickgelu"
CASES = {
    "clip_score": (f"network: {{{CLIP}}}", "network", "gone.pt", "OpenAI's ViT-B/32"),
    "hpsv2": (f"network: {{{FILE}}}", "network", "gone.pt", "HPS_v2_compressed.pt"),
    "pick_score": (f"network: {{{FOLDER}}}", "network", "gone/config.json", "PickScore_v1"),
    "aesthetic": (
        f"network: {{{CLIP}, head: {{{FILE}}}}}",
        *("network", "gone.pt", "LAION's heads are for OpenAI's ViT-L/14"),
    ),
    "fid": (f"inception: {{{FILE}}}", "inception", "gone.pt", "weights-inception-2015-12-05"),
    "cmmd": (f"clip: {{{CLIP}}}", "clip", "gone.pt", "open_clip lists the pretrained weights"),
    "feature_diversity": (
        f"dino: {{{FOLDER}}}",
        *("dino", "gone/config.json", "facebook/dinov2-base"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_named_with_the_file_that_papers_have(suite, name):
    given, key, file, published = CASES[name]
    path = suite(SUITE.replace("{brightness: {}}", f"{{{name}: {{{given}}}}}"))
    with pytest.raises(UserError) as caught:
        rcm_bench.plan(str(path))
    said = str(caught.value)
    assert f"benchmarks.{name}.{key}.weights: {file}: no such file; " in said, said
    assert published in said


def test_lpips_and_the_aesthetic_head_too(suite, tmp_path):
    lpips = f"{{feature_diversity: {{lpips: {{{FILE}}}}}}}"
    with pytest.raises(UserError, match="lpips.weights: gone.pt: no such file; .* alexnet, vgg16"):
        rcm_bench.plan(str(suite(SUITE.replace("{brightness: {}}", lpips))))
    (tmp_path / "clip.pt").write_bytes(b"x")
    clip = CLIP.replace("gone.pt", str(tmp_path / "clip.pt"))
    clip = clip.replace(DIGEST, file_digest(tmp_path / "clip.pt"))
    head = f"{{aesthetic: {{network: {{{clip}, head: {{{FILE}}}}}}}}}"
    with pytest.raises(UserError, match="head.weights: gone.pt: no such file; LAION's repository"):
        rcm_bench.plan(str(suite(SUITE.replace("{brightness: {}}", head))))


@pytest.mark.parametrize("name", CASES)
def test_other_weights_are_refused_before_anything_is_sampled(suite, tmp_path, name):
    given, key, *_ = CASES[name]
    (tmp_path / "gone").mkdir()
    for file in ("gone.pt", "gone/config.json", "gone/model.safetensors"):
        (tmp_path / file).write_bytes(b"others")
    given = given.replace("weights: gone", f"weights: {tmp_path}/gone")
    path = suite(SUITE.replace("{brightness: {}}", f"{{{name}: {{{given}}}}}"))
    with pytest.raises(UserError) as caught:
        rcm_bench.run(str(path), tmp_path / "out")
    said = str(caught.value)
    assert f"benchmarks.{name}.{key}: {tmp_path}/gone" in said, said
    assert f"expected SHA-256 {DIGEST}, got " in said
    assert not (tmp_path / "out").exists()
