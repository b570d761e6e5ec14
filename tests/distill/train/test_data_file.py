"""Training from a file of pairs: the same as from rendered scenes, and every fault said first."""

import pytest
import torch
from safetensors.torch import save_file
from tiny_recipes import recipe

from rcm_distill.lab.pool import Pool
from rcm_distill.lab.pool_file import Pairs, _sha256, read_pairs, write_pairs
from rcm_distill.train import train
from rcm_distill.train.recipe import Data
from rcm_distill.train.state import load_state


@pytest.fixture
def pairs():
    pool = Pool(16, 0)
    return Pairs(pool.images, pool.tokens)


def test_a_file_trains_as_the_scenes_that_it_holds_do(tmp_path, pairs):
    path = tmp_path / "pairs.safetensors"
    digest = write_pairs(path, pairs)
    train(recipe(steps=3), tmp_path / "rendered", device="cpu")
    named = recipe(steps=3, data=Data(file=path.name, sha256=digest))
    train(named, tmp_path / "read", device="cpu", data=path)
    one, two = (load_state(tmp_path / f / "state.safetensors")[0] for f in ("rendered", "read"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(ValueError, match="needs the file of its data, 'pairs.safetensors'"):
        train(named, tmp_path / "none", device="cpu")


def test_damage_is_said_before_the_first_step(tmp_path, pairs):
    path = tmp_path / "pairs.safetensors"
    digest = write_pairs(path, pairs)
    whole = path.read_bytes()
    assert not (tmp_path / "pairs.safetensors.part").exists()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        path.write_bytes(damaged)
        named = recipe(data=Data(file=path.name, sha256=digest))
        with pytest.raises(ValueError, match="pairs.safetensors: damaged, or another file"):
            train(named, tmp_path / "out", device="cpu", data=path)
    assert not (tmp_path / "out").exists()
    path.unlink()
    with pytest.raises(ValueError, match="pairs.safetensors: no such dataset"):
        read_pairs(path, digest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {"images": p.images[:0], "tokens": p.tokens[:0]}, "the dataset is empty"),
        (
            lambda p: {"images": p.images},
            r"images and tokens, got \['images'\]",
        ),
        (
            lambda p: {**p._asdict(), "tokens": p.tokens[1:]},
            r"tokens must be .*\(16, 12\)",
        ),
        (lambda p: {**p._asdict(), "images": p.images.float()}, "images must be torch.uint8"),
        (lambda p: {**p._asdict(), "tokens": p.tokens + 999}, r"tokens must be in \[0, "),
    ],
)
def test_what_is_no_dataset_is_said(tmp_path, pairs, change, message):
    path = tmp_path / "pairs.safetensors"
    save_file({name: part.contiguous() for name, part in change(pairs).items()}, path)
    with pytest.raises(ValueError, match=message):
        read_pairs(path, _sha256(path))
    path.write_bytes(b"nonsense, not a dataset")
    with pytest.raises(ValueError, match="expected a safetensors file of pairs"):
        read_pairs(path, _sha256(path))
