"""The tool that says how far chosen kernels lead from float32, on tiny networks."""

import pytest
import torch
from tiny_models import item, model_of

from rcm_bench.diffusion import decoder as decoder_module
from rcm_bench.diffusion import deviation
from rcm_bench.diffusion.deviation import rms
from rcm_bench.diffusion.kernels import kernels
from rcm_bench.suite import RcmSampler

BF16 = {"dtype": "bfloat16", "decode_dtype": "bfloat16", "resolution": [16, 16]}
VIDEO = {"frames": 9, "fps": 16.0}


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    monkeypatch.setattr(deviation, "_known", {})


def measured(root, kind="wan", **changes):
    model = model_of(kind, root, RcmSampler(kind="rcm"), **(BF16 | changes))
    model.load("cpu")
    return model.deviations(item())


def test_rms():
    exact = torch.tensor([3.0, 4.0])
    assert rms(exact + torch.tensor([0.3, 0.4]), exact) == pytest.approx(0.1)
    assert rms(exact.double(), exact) == 0


def test_both_parts_beside_plain_bfloat16(wan, monkeypatch):
    found = measured(wan[0], decoder="eager", attention="math")
    assert set(found) == {"decode", "network"}
    for part, (plain, here) in found.items():
        assert 1e-4 < plain < 0.2 and here < 1.5 * plain, part
    # As they come they are the plain ones, bit for bit.
    again = measured(wan[0])
    assert all(plain == here for plain, here in again.values())
    assert again["network"].plain == found["network"].plain
    # Equal weights and kernels are measured once.
    monkeypatch.setattr(deviation, "_decode", None)
    assert measured(wan[0]) == again
    with pytest.raises(TypeError):
        measured(wan[0], decoder="eager")


def test_a_decoder_that_changes_the_picture_shows(wan, monkeypatch):
    """Here one that forgets the frames before a chunk."""
    monkeypatch.setattr(decoder_module, "_CHUNK_PIXELS", 1)
    real = decoder_module.CausalConv.room

    def forgetful_room(self, *arguments):
        self.past = None
        return real(self, *arguments)

    monkeypatch.setattr(decoder_module.CausalConv, "room", forgetful_room)
    found = measured(wan[0], decoder="eager", dtype="float32", **VIDEO)["decode"]
    assert found.here > 3 * found.plain


def test_float32_has_nothing_to_lose(wan):
    assert measured(wan[0], dtype="float32", decode_dtype="float32") == {}


@pytest.mark.slow
def test_video_to_world(cosmos_video):
    found = measured(cosmos_video[0], "cosmos", decoder="eager", **VIDEO)
    assert found["network"].here == found["network"].plain


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["wan", "cosmos"])
def test_compiled_blocks(family, request):
    found = measured(request.getfixturevalue(family)[0], family, compile="blocks")
    print(f"compiled over plain: {found['network'].here / found['network'].plain:.3f}")
    assert 0 < found["network"].here < 1.5 * found["network"].plain


def test_only_what_differs_is_named(wan):
    plain, chosen = (
        model_of("wan", wan[0], RcmSampler(kind="rcm"), **changes).settings
        for changes in ({}, {"attention": "math", "autotune": True})
    )
    assert kernels(plain) == {} and kernels(chosen) == {"attention": "math", "autotune": True}
