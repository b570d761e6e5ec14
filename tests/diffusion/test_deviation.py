"""The tool that says how far chosen kernels lead from float32, on tiny networks."""

import copy

import pytest
import torch
from test_rcm_sampler import latents_of
from tiny_models import item, model_of

from rcm_bench.diffusion import decoder as decoder_module
from rcm_bench.diffusion import deviation
from rcm_bench.diffusion.deviation import rms
from rcm_bench.diffusion.kernels import kernels, use_kernels
from rcm_bench.suite import RcmSampler, SchedulerSampler

BF16 = {"dtype": "bfloat16", "decode_dtype": "bfloat16", "resolution": [16, 16]}
VIDEO = {"frames": 9, "fps": 16.0}


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    monkeypatch.setattr(deviation, "_known", {})


def whole(root, kind="wan", sampler=None, most_seconds=float("inf"), **changes):
    model = model_of(kind, root, sampler or RcmSampler(kind="rcm"), **(BF16 | changes))
    model.load("cpu")
    return model.deviations(item(), most_seconds)


def measured(root, kind="wan", **changes):
    return whole(root, kind, **changes).measured


def test_rms():
    exact = torch.tensor([3.0, 4.0])
    assert rms(exact + torch.tensor([0.3, 0.4]), exact) == pytest.approx(0.1)
    assert rms(exact.double(), exact) == 0


@pytest.mark.long
def test_both_parts_beside_plain_bfloat16(wan, monkeypatch):
    found = measured(wan[0], decoder="eager", attention="math")
    assert set(found) == {"decode", "network"}
    # Not which is larger: these networks are so small that single values decide it.
    assert all(plain > 1e-5 and here > 1e-5 for plain, here in found.values())
    assert found["decode"].here != found["decode"].plain
    # Kernels that are the plain ones on a CPU give the same bits.
    assert measured(wan[0]) == {}
    again = measured(wan[0], autotune=True)
    assert all(plain == here for plain, here in again.values())
    assert again["network"].plain == found["network"].plain
    # Equal weights and kernels are measured once.
    monkeypatch.setattr(deviation, "_decode", None)
    assert measured(wan[0], autotune=True) == again
    with pytest.raises(KeyError):
        measured(wan[0], decoder="eager")["decode"]


def test_a_decoder_that_changes_the_picture_shows(wan, monkeypatch):
    """Here one that forgets the frames before a chunk."""
    monkeypatch.setattr(decoder_module, "CHUNK_PIXELS", 1)
    real = decoder_module.CausalConv.room

    def forgetful_room(self, *arguments):
        self.past = None
        return real(self, *arguments)

    monkeypatch.setattr(decoder_module.CausalConv, "room", forgetful_room)
    found = measured(wan[0], decoder="eager", dtype="float32", **VIDEO)["decode"]
    # 0.6 to 1.2 over 25 draws; of the decoder as it is 0.1, seldom more. What bfloat16 makes of
    # a network so small varies as much, so that it is no measure here.
    assert found.here > 0.3


def test_a_part_without_memory_leaves_the_other_and_says_so(wan, monkeypatch):
    def without_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 56 GiB")

    monkeypatch.setattr(deviation, "_network", without_memory)
    found = whole(wan[0], decoder="eager")
    assert set(found.measured) == {"decode"}
    assert found.reasons == {
        "network": "failed: OutOfMemoryError: CUDA out of memory. Tried to allocate 56 GiB"
    }


def test_the_float32_network_is_asked_no_further_after_most_seconds(wan, monkeypatch):
    asked = []
    real = deviation.rms
    monkeypatch.setattr(deviation, "rms", lambda got, exact: asked.append(len(exact)) or
                        real(got, exact))  # fmt: skip
    settings = {"autotune": True, "decode_dtype": "float32"}
    found = whole(wan[0], most_seconds=1e-9, **settings)
    assert found.reasons == {
        "network": "asked at 1 of 3 times: float32 took longer than most_seconds"
    }
    assert asked == [1, 1] and found.measured["network"].plain > 0


def test_guidance_is_no_property_of_kernels(wan, monkeypatch):
    """A guided teacher and its student share the figure, whichever is measured first."""
    settings = {"autotune": True, "decode_dtype": "float32"}
    teacher = SchedulerSampler(kind="scheduler", guidance=9.0)
    found = []
    for sampler in (RcmSampler(kind="rcm"), teacher):
        monkeypatch.setattr(deviation, "_known", {})
        found.append(whole(wan[0], sampler=sampler, **settings).measured["network"])
    assert found[0] == found[1]


def test_float32_has_nothing_to_lose(wan):
    assert measured(wan[0], dtype="float32", decode_dtype="float32") == {}


@pytest.mark.slow
def test_video_to_world(cosmos_video):
    found = measured(cosmos_video[0], "cosmos", autotune=True, **VIDEO)
    assert found["network"].here == found["network"].plain


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["wan", "cosmos"])
def test_compiled_blocks_are_the_same_network(family, request, monkeypatch):
    root, _ = request.getfixturevalue(family)
    made = []
    for compiled in ("none", "blocks"):
        model = model_of(family, root, RcmSampler(kind="rcm"), compile=compiled)
        made.append(latents_of(model, [item(steps=2)], monkeypatch)[0])
        monkeypatch.undo()
    assert rms(made[1], made[0]) < 1e-5
    with model._engine.placed(1).transformer() as net:
        blocks = net.blocks if family == "wan" else net.transformer_blocks
        assert all(block._compiled_call_impl is not None for block in blocks)


def test_only_what_differs_is_named(wan):
    plain, chosen = (
        model_of("wan", wan[0], RcmSampler(kind="rcm"), **changes).settings
        for changes in ({}, {"attention": "math", "autotune": True})
    )
    assert kernels(plain) == {} and kernels(chosen) == {"attention": "math", "autotune": True}


def test_one_network_s_attention_is_not_the_others(wan):
    """diffusers makes the backend that one model is given the one of every other."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as registry

    before = registry.get_active_backend()[0]
    settings = model_of("wan", wan[0], RcmSampler(kind="rcm"), attention="math").settings
    net = copy.deepcopy(wan[1].transformer)
    use_kernels(net, settings, "resident", "models.m")
    assert registry.get_active_backend()[0] == before
    asked = {block.attn1.processor._attention_backend.value for block in net.blocks}
    assert asked == {"_native_math"}
