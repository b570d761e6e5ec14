"""Weights at 8 bits an element: how far they move, how small they are, what is refused."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rcm_distill import checkpoint, eight_bits
from rcm_distill.nets import DiT, DiTConfig

CONFIG = DiTConfig(vocab_size=9, width=64, depth=2, num_heads=2, text_depth=1)


@pytest.fixture
def net():
    made = DiT(CONFIG)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def test_an_element_moves_by_half_a_level_of_its_row_at_most(net, tmp_path):
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, net.state_dict(), CONFIG, {"seed": 1}, dtype=torch.int8)
    loaded = checkpoint.load(path)
    assert loaded.config == CONFIG and loaded.card == {"seed": 1}
    found = loaded.net.state_dict()
    for name, weight in net.state_dict().items():
        if weight.ndim < 2:
            assert torch.equal(found[name], weight.half().float()), name
            continue
        level = weight.flatten(1).abs().amax(1).reshape(-1, *[1] * (weight.ndim - 1)) / 127
        assert ((found[name] - weight).abs() <= 0.5001 * level).all(), name
        assert not torch.equal(found[name], weight)


def test_it_takes_little_more_than_half_of_half_precision(net, tmp_path):
    sizes = {}
    for dtype in (torch.float16, torch.int8):
        checkpoint.save(tmp_path / "net.safetensors", net.state_dict(), CONFIG, {}, dtype=dtype)
        sizes[dtype] = (tmp_path / "net.safetensors").stat().st_size
    assert sizes[torch.int8] < 0.6 * sizes[torch.float16]


def test_stored_again_it_stays_what_it_is(net, tmp_path):
    """Rows whose largest element is 127 levels are their own rounding, bit by bit."""
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    checkpoint.save(first, net.state_dict(), CONFIG, {}, dtype=torch.int8)
    eight_bits.main(first, second)
    assert checkpoint.load(second).card == {"stored": "int8"}
    one, two = load_file(first), load_file(second)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-6, atol=0)


def test_a_row_of_zeros_stays_zero():
    packed = eight_bits.pack({"w": torch.zeros(3, 4)})
    assert torch.equal(eight_bits.unpack(packed)["w"], torch.zeros(3, 4))


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="w: expected finite weights"):
        eight_bits.pack({"w": torch.tensor([[1.0, torch.nan]])})


@pytest.mark.parametrize("levels", [None, torch.ones(2)])
def test_missing_or_wrong_levels_are_named(net, tmp_path, levels):
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, net.state_dict(), CONFIG, {}, dtype=torch.int8)
    with safe_open(path, framework="pt") as file:
        stored, header = load_file(path), file.metadata()
    del stored["pool.weight.level"]
    if levels is not None:
        stored["pool.weight.level"] = levels
    save_file(stored, path, metadata=header)
    with pytest.raises(ValueError, match=r"net.safetensors: pool.weight.level: expected one level"):
        checkpoint.load(path)
