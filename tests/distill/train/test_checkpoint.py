import json

import pytest
import torch
from safetensors.torch import save_file

from rcm_distill import checkpoint
from rcm_distill.nets import DiT, DiTConfig

CONFIG = DiTConfig(vocab_size=9, width=32, depth=1, num_heads=2, text_depth=1)


@pytest.fixture
def saved(tmp_path):
    net = DiT(CONFIG)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, net.state_dict(), CONFIG, {"recipe": "x", "seed": 3})
    return net, path


def test_weights_architecture_and_card_come_back(saved):
    net, path = saved
    loaded = checkpoint.load(path)
    assert loaded.config == CONFIG
    assert loaded.card == checkpoint.read_card(path) == {"recipe": "x", "seed": 3}
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[name], tensor.half().float()), name


def test_nothing_half_written_is_left(saved):
    _, path = saved
    assert [p.name for p in path.parent.iterdir()] == ["net.safetensors"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.safetensors: no such weight file"):
        checkpoint.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 200, -10])
def test_a_truncated_file_is_named(saved, keep):
    _, path = saved
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="net.safetensors: expected a safetensors file"):
        checkpoint.load(path)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"weight": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="expected a safetensors file"):
        checkpoint.load(path)


def test_another_format_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"w": torch.ones(1)}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"expected the weight format .*, got 'pt'"):
        checkpoint.load(path)


def test_keys_and_shapes_that_do_not_fit_are_listed(saved, tmp_path):
    net, _ = saved
    weights = dict(net.state_dict())
    weights["surplus"] = torch.ones(2)
    del weights["pool.bias"]
    weights["pool.weight"] = weights["pool.weight"][:3]
    path = tmp_path / "bad.safetensors"
    checkpoint.save(path, weights, CONFIG, {})
    with pytest.raises(ValueError) as fault:
        checkpoint.load(path)
    assert "missing pool.bias" in str(fault.value)
    assert "unexpected surplus" in str(fault.value)
    assert "pool.weight must have shape (32, 384), got (3, 384)" in str(fault.value)


def test_an_unknown_architecture_field_is_refused(tmp_path):
    path = tmp_path / "bad.safetensors"
    header = {"format": checkpoint.FORMAT, "config": json.dumps({"widht": 3}), "card": "{}"}
    save_file({"w": torch.ones(1)}, path, metadata=header)
    with pytest.raises(ValueError, match=r"unknown architecture fields \['widht'\]"):
        checkpoint.load(path)
