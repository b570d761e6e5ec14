"""Weights of the detector: mmdetection's file becomes the hub's, completely, or is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_mask2former import mmdet_weights, tiny_config, tiny_model, unfolded_merging
from torch import nn

from rcm_bench.canonical import file_digest
from rcm_bench.detectors import mask2former_weights
from rcm_bench.detectors.mask2former_weights import coco_names, load_model, official_config
from rcm_bench.detectors.mmdet_keys import key_map, to_hub
from rcm_bench.detectors.settings import Mask2FormerSettings
from rcm_bench.errors import UserError


@pytest.fixture(autouse=True)
def tiny_architecture(monkeypatch):
    monkeypatch.setattr(mask2former_weights, "official_config", tiny_config)


@pytest.fixture(scope="module")
def model():
    return tiny_model(torch.seed() % 2**31)


def settings(path, layout, **changes):
    given = {"kind": "mask2former", "weights": str(path), "layout": layout}
    if layout == "hub":
        given["sha256"] = file_digest(path / "model.safetensors")
        given["config_sha256"] = file_digest(path / "config.json")
    else:
        given["sha256"] = file_digest(path)
    return Mask2FormerSettings(**{**given, **changes})


def same(one, other):
    x = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        a, b = one(pixel_values=x), other(pixel_values=x)
    assert a.class_queries_logits.std() > 0.1
    assert torch.equal(a.class_queries_logits, b.class_queries_logits)
    assert torch.equal(a.masks_queries_logits, b.masks_queries_logits)


def test_mmdetections_file_gives_the_same_outputs(model, tmp_path):
    path = tmp_path / "official.pth"
    torch.save({"meta": {"epoch": 50}, "state_dict": mmdet_weights(model)}, path)
    same(model, load_model(settings(path, "mmdet"), "detector"))


def test_a_hub_folder_gives_the_same_outputs(model, tmp_path):
    model.save_pretrained(tmp_path / "hub")
    same(model, load_model(settings(tmp_path / "hub", "hub"), "detector"))


def test_a_hub_id_is_read_at_its_revision(model, tmp_path, monkeypatch):
    """Through the hub's own client, from a cache laid out as it does, offline."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "cache"
    model.save_pretrained(cache / "models--owner--m2f" / "snapshots" / revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pinned = Mask2FormerSettings(
        kind="mask2former", weights="owner/m2f", layout="hub", revision=revision
    )
    same(model, load_model(pinned, "detector"))
    with pytest.raises(UserError, match="detector: owner/m2f at f{40} cannot be fetched"):
        load_model(pinned.model_copy(update={"revision": "f" * 40}), "detector")


def test_the_key_map_is_complete_for_the_official_architecture():
    """Its sources have the parameters of the network, its targets their names."""
    from transformers import Mask2FormerForUniversalSegmentation

    config = official_config()
    with torch.device("meta"):
        network = Mask2FormerForUniversalSegmentation(config)
    entries = key_map(config)
    sources = [entry.source for entry in entries]
    targets = [target for entry in entries for target in entry.targets]
    assert len(set(sources)) == len(sources) and len(set(targets)) == len(targets)
    unused = 3  # the loss's class weights and the backbone's last norm
    assert len(targets) == len(network.state_dict()) - unused


def test_patch_merging_is_permuted_as_unfold_gathers():
    """mmdetection's own computation, on features of odd size too, by what the map gives back."""
    from transformers.models.swin.modeling_swin import SwinPatchMerging

    merging = SwinPatchMerging(6)
    nn.init.normal_(merging.norm.weight)
    nn.init.normal_(merging.norm.bias)
    norm, reduction = unfolded_merging(merging)
    x = torch.randn(2, 6, 8, 10)  # N C H W
    there = nn.functional.unfold(x, kernel_size=2, stride=2).transpose(1, 2)
    there = reduction(norm(there))
    here = merging(x.flatten(2).transpose(1, 2), (8, 10))
    torch.testing.assert_close(there, here)
    assert not torch.allclose(merging.reduction.weight, reduction.weight)


def test_the_unused_norm_is_unused(model):
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = model(pixel_values=x).masks_queries_logits
        norm = model.model.pixel_level_module.encoder.swin.layernorm
        kept = norm.weight.clone()
        norm.weight.fill_(float("nan"))
        after = model(pixel_values=x).masks_queries_logits
        norm.weight.copy_(kept)
    assert torch.equal(before, after)


def test_every_name_that_does_not_fit_is_listed(model):
    weights = mmdet_weights(model)
    del weights["panoptic_head.cls_embed.bias"], weights["backbone.norm3.weight"]
    weights["panoptic_head.extra.weight"] = torch.zeros(1)
    with pytest.raises(UserError) as caught:
        to_hub(weights, tiny_config(), "detector: x.pth")
    message = str(caught.value)
    assert message.startswith("detector: x.pth: expected mmdetection's Mask2Former Swin-S; 3 names")
    assert "missing: panoptic_head.cls_embed.bias" in message
    assert "missing: backbone.norm3.weight" in message
    assert "unexpected: panoptic_head.extra.weight" in message


def test_of_many_names_twenty_are_listed():
    with pytest.raises(UserError) as caught:
        to_hub({"a": torch.zeros(1)}, tiny_config(), "x.pth")
    lines = str(caught.value).splitlines()
    assert len(lines) == 22 and lines[-1].startswith("  and ")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("backbone.stages.0.blocks.0.attn.w_msa.qkv.weight", (25, 8), "expected three equal parts"),
        ("backbone.stages.0.downsample.norm.weight", (33,), "expected four equal parts"),
        ("backbone.stages.1.blocks.0.attn.w_msa.relative_position_index", (9, 9), "not the index"),
        ("panoptic_head.cls_embed.weight", (80, 32), r"expected \(81, 32\), got \(80, 32\)"),
    ],
)
def test_misshapen_weights_are_refused(model, tmp_path, name, shape, message):
    weights = mmdet_weights(model)
    weights[name] = torch.zeros(shape, dtype=weights[name].dtype)
    path = tmp_path / "x.pth"
    torch.save(weights, path)
    with pytest.raises(UserError, match=message):
        load_model(settings(path, "mmdet"), "detector")


def test_a_hub_folder_with_a_weight_too_few_or_too_many_is_refused(model, tmp_path):
    folder = tmp_path / "hub"
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    del weights["class_predictor.bias"]
    weights["class_predictor.scale"] = torch.zeros(1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError) as caught:
        load_model(settings(folder, "hub"), "detector")
    assert "missing: class_predictor.bias" in str(caught.value)
    assert "unexpected: class_predictor.scale" in str(caught.value)


def test_another_order_of_classes_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path / "hub")
    path = tmp_path / "hub" / "config.json"
    config = json.loads(path.read_text())
    names = config["id2label"]
    names["62"], names["63"] = names["63"], names["62"]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="expected class 62 to be 'tv', got 'laptop'"):
        load_model(settings(tmp_path / "hub", "hub"), "detector")


def test_class_names_are_cocos():
    names = coco_names()
    assert (names[0], names[64], names[65], names[66], names[79]) == (
        *("person", "mouse", "remote", "keyboard"),
        "toothbrush",
    )


class Evil:
    """What a pickle must not be able to do."""

    def __reduce__(self):
        return (open, ("/dev/null",))


def test_files_that_are_not_what_they_should_be(model, tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match="expected a PyTorch file of plain tensors"):
        load_model(settings(path, "mmdet"), "detector")
    with pytest.raises(UserError, match=f"x.pth: expected SHA-256 {'0' * 64}, got"):
        load_model(settings(path, "mmdet", sha256="0" * 64), "detector")
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(UserError, match="expected a PyTorch file of plain tensors"):
        load_model(settings(path, "mmdet"), "detector")
    torch.save({"state_dict": [1]}, path)
    with pytest.raises(UserError, match="expected a 'state_dict' of tensors"):
        load_model(settings(path, "mmdet"), "detector")
    kept = settings(path, "mmdet")
    path.unlink()
    with pytest.raises(UserError, match="detector: .*x.pth: no such file"):
        load_model(kept, "detector")
    model.save_pretrained(tmp_path / "hub")
    kept = settings(tmp_path / "hub", "hub")
    shutil.rmtree(tmp_path / "hub")
    with pytest.raises(UserError, match="config.json: no such file"):
        load_model(kept, "detector")
