"""What the networks leave out changes nothing: each against its library, with random weights."""

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rcm_bench.errors import UserError
from rcm_bench.vbench.native.networks import load_aesthetic, load_clip, load_flow, load_musiq
from rcm_bench.vbench.native.weights import AESTHETIC, CLIP_B, MUSIQ, RAFT

DRAWS = (torch.ops.aten.normal_, torch.ops.aten.uniform_)


def test_the_last_block_of_timm_for_the_class_token():
    timm = pytest.importorskip("timm.models.vision_transformer", reason="needs timm")
    from rcm_bench.vbench.native.class_token import last_of_timm

    block = timm.Block(24, num_heads=3, qkv_bias=True).double().eval()
    tokens = torch.randn(2, 7, 24, dtype=torch.float64)
    with torch.inference_mode():
        expected = block(tokens)[:, :1]
        torch.testing.assert_close(last_of_timm(block)(tokens), expected, rtol=1e-12, atol=1e-12)


class Files:
    """Stands for a folder of weight files."""

    folder = Path("weights")

    def __init__(self, state, copied=True):
        self._state, self._copied = state, copied

    def state(self, name, device):
        if not self._copied:
            return dict(self._state)
        return {key: value.to(device, copy=True) for key, value in self._state.items()}


def tiny_clip():
    """A CLIP of OpenAI's names whose numbers float16 holds exactly."""
    model = pytest.importorskip("open_clip.model", reason="needs open_clip")
    clip = model.CLIP(
        32,
        model.CLIPVisionCfg(layers=2, width=128, patch_size=8, image_size=32),
        model.CLIPTextCfg(context_length=9, vocab_size=50, width=64, heads=1, layers=2),
        quick_gelu=True,
    )
    for parameter in clip.parameters():
        parameter.data = torch.randn(parameter.shape).mul(0.2).half().float()
    return clip.eval()


def test_clip_is_that_of_the_library_with_the_files_weights():
    clip = tiny_clip()
    loaded = load_clip(Files(clip.state_dict()), CLIP_B, "cpu")
    pixels, tokens = torch.randn(3, 3, 32, 32), torch.randint(1, 50, (2, 9))
    with torch.inference_mode():
        for part, given in (("encode_image", pixels), ("encode_text", tokens)):
            expected = getattr(clip, part)(given)
            found = getattr(loaded, part)(given)
            assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert loaded.logit_scale == clip.logit_scale
    assert all(value.device.type == "cpu" for value in [*loaded.parameters(), *loaded.buffers()])


def values_drawn(call):
    """Return what ``call`` returns and how many values it draws at random in memory."""

    class Drawing(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            first = args[0] if args else None
            drawing = func.overloadpacket in DRAWS and isinstance(first, torch.Tensor)
            if drawing and first.device.type != "meta":
                self.total += first.numel()
            return func(*args, **(kwargs or {}))

    with Drawing() as counted:
        made = call()
    return made, counted.total


def random_state(network):
    """Return random values of the network's names and shapes, on a CPU."""
    return {
        name: torch.rand(value.shape, device="cpu").to(value.dtype)
        for name, value in network.state_dict().items()
    }


@pytest.mark.parametrize("name", [MUSIQ, RAFT, AESTHETIC])
def test_no_start_is_drawn_and_the_files_tensors_become_the_networks(name):
    if name == MUSIQ:
        musiq_arch = pytest.importorskip("pyiqa.archs.musiq_arch", reason="needs pyiqa")
        make, load = lambda: musiq_arch.MUSIQ(pretrained=False), load_musiq
    elif name == RAFT:
        flow = pytest.importorskip("torchvision.models.optical_flow", reason="needs torchvision")
        make, load = lambda: flow.raft_large(weights=None, progress=False), load_flow
    else:
        make, load = lambda: torch.nn.Linear(768, 1), load_aesthetic
    with torch.device("meta"):
        state = random_state(make())
    files = Files(state, copied=False)
    loaded, drawn = values_drawn(lambda: load(files, "cpu"))
    network = loaded.raft if name == RAFT else loaded
    assert drawn == 0 and not network.training
    held = network.state_dict()
    assert held.keys() == state.keys()
    assert all(held[key].data_ptr() == state[key].data_ptr() for key in held)
    assert values_drawn(make)[1] > 0  # the count sees a start that is drawn


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_clip_on_a_cpu_is_rounded_to_float16_without_a_second_copy(dtype):
    clip = tiny_clip()
    state = {key: torch.randn(value.shape) for key, value in clip.state_dict().items()}
    state = {key: value.to(dtype) for key, value in state.items()}
    given = {key: value.clone() for key, value in state.items()}
    held = load_clip(Files(state, copied=False), CLIP_B, "cpu").state_dict()
    assert all(value.dtype == torch.float32 for value in held.values())
    product, norm = "visual.transformer.resblocks.0.mlp.c_fc.weight", "visual.ln_post.weight"
    assert torch.equal(held[product], given[product].half().float())
    assert torch.equal(held[norm], given[norm].float())  # OpenAI's package rounds no norm
    if dtype == torch.float32:
        assert all(held[name].data_ptr() == state[name].data_ptr() for name in (product, norm))


def test_weights_that_are_no_clip_are_refused():
    state = tiny_clip().state_dict()
    with pytest.raises(UserError, match=r"ViT-B-32\.pt: not the weights of a CLIP"):
        load_clip(Files({"visual.proj": state["visual.proj"]}), CLIP_B, "cpu")
    state.pop("visual.ln_post.bias")
    with pytest.raises(UserError, match=r"ViT-B-32\.pt: not the weights .*visual\.ln_post\.bias"):
        load_clip(Files(state), CLIP_B, "cpu")


@pytest.mark.parametrize("size", [(40, 96), (70, 70)])
def test_musiq_without_the_patches_that_it_masks(size):
    musiq_arch = pytest.importorskip("pyiqa.archs.musiq_arch", reason="needs pyiqa")
    from rcm_bench.vbench.native.imaging_quality import opinion

    small = {"hidden_size": 48, "mlp_dim": 64, "num_layers": 2}
    musiq = musiq_arch.MUSIQ(pretrained=False, **small).eval()
    for parameter in musiq.transformer_encoder.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    pixels = torch.rand(2, 3, *size)
    with torch.inference_mode():
        expected, found = musiq(pixels).flatten(), opinion(musiq, pixels)
    assert float(expected.std()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
