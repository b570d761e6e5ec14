"""Our decoder gives diffusers' picture: in float32 to rounding, in bfloat16 no further off."""

import copy
import os

import pytest
import torch
from tiny_models import item, model_of, nearly_all, seeded
from torch.nn import functional

from rcm_bench.diffusion.decoder import Decoder
from rcm_bench.diffusion.deviation import rms
from rcm_bench.diffusion.elementwise import Sum, norm_silu
from rcm_bench.errors import UserError
from rcm_bench.suite import RcmSampler

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def autoencoder(**changes):
    """Random weights around diffusers' start, so that pictures are neither flat nor saturated."""
    from diffusers import AutoencoderKLWan

    seeded()
    vae = AutoencoderKLWan(z_dim=16, **changes)
    with torch.no_grad():
        for value in vae.decoder.parameters():
            value.mul_(1 + 0.1 * torch.randn_like(value)).add_(0.01 * torch.randn_like(value))
    return vae.eval()


def theirs(vae, z, dtype=torch.float32):
    with torch.inference_mode():
        own = copy.deepcopy(vae).to(dtype)
        return own.decode(z[None].to(dtype), return_dict=False)[0][0].float()


@torch.inference_mode()
def ours(vae, z, dtype=torch.float32, how="eager", chunk=None):
    return Decoder(vae, dtype, how)(z, chunk)


def test_equal_in_float32_whatever_the_chunks():
    vae = autoencoder(base_dim=6, num_res_blocks=1)
    z = torch.randn(16, 4, 2, 4)
    for frames in (1, 4):
        exact = theirs(vae, z[:, :frames])
        assert exact.std() > 0.05 and exact.shape == (3, 4 * frames - 3, 16, 32)
        for chunk in (1, 2, None):
            got = ours(vae, z[:, :frames], chunk=chunk)
            assert got.shape == exact.shape and rms(got, exact) < 1e-5, (frames, chunk)
            assert (got - exact).abs().max() < 1e-4


@pytest.mark.slow
def test_equal_with_the_real_layers():
    """All widths of Wan2.1, at 16x16 pixels."""
    vae = autoencoder()
    z = torch.randn(16, 3, 2, 2)
    exact = theirs(vae, z)
    assert exact.std() > 0.05
    assert rms(ours(vae, z), exact) < 1e-5


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
def test_no_further_off_in_bfloat16(given):
    """Also where the stored weights are bfloat16 already and only our sums of them are rounded."""
    vae = autoencoder(base_dim=8, num_res_blocks=1).to(given).float()
    z = torch.randn(16, 3, 4, 4)
    exact = theirs(vae, z)
    plain, fast = theirs(vae, z, torch.bfloat16), ours(vae, z, torch.bfloat16)
    assert 1e-3 < rms(plain, exact) < 0.1
    assert rms(fast, exact) <= 1.1 * rms(plain, exact)


@pytest.mark.slow
def test_no_further_off_in_bfloat16_with_the_real_layers():
    vae = autoencoder()
    z = torch.randn(16, 2, 2, 2)
    exact = theirs(vae, z)
    ratio = rms(ours(vae, z, torch.bfloat16), exact) / rms(theirs(vae, z, torch.bfloat16), exact)
    print(f"deviation over that of plain bfloat16: {ratio:.3f}")
    assert ratio <= 1.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled():
    vae = autoencoder(base_dim=8, num_res_blocks=1)
    z = torch.randn(16, 4, 4, 4)
    exact = theirs(vae, z)
    assert rms(ours(vae, z, how="compiled", chunk=2), exact) < 1e-5
    plain = rms(theirs(vae, z, torch.bfloat16), exact)
    assert rms(ours(vae, z, torch.bfloat16, "compiled"), exact) <= 1.1 * plain


@pytest.mark.parametrize("how", ["eager", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("residual", "activate"), [(True, True), (False, True), (True, False)])
def test_sum_norm_and_activation(how, dtype, residual, activate):
    """Within some roundings of the working precision, against float64."""
    seeded()
    shape = (3, 2, 3, 24)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    make = lambda *s: torch.randn(s, device=device)  # noqa: E731
    terms = Sum(make(*shape).to(dtype), make(24), make(*shape).to(dtype) if residual else None)
    gain, room = make(24), torch.full((5, 2, 3, 24), torch.nan, dtype=dtype, device=device)
    exact = terms.x.double() + terms.bias.double()
    exact = exact + terms.residual.double() if residual else exact
    normed = functional.normalize(exact, dim=-1) * gain.double()
    normed = functional.silu(normed) if activate else normed
    total = norm_silu(how, terms, gain, room[2:], activate=activate)
    eps = torch.finfo(dtype).eps
    assert (total - exact).abs().max() < 4 * eps * float(exact.abs().max())
    assert (room[2:] - normed).abs().max() < 8 * eps * float(normed.abs().max())
    assert room[:2].isnan().all(), "the past is not touched"


def test_a_row_of_zeros_stays_zero():
    for how in ("eager", "triton"):
        out = torch.full((1, 1, 2, 24), torch.nan)
        norm_silu(how, Sum(torch.zeros(1, 1, 2, 24), torch.zeros(24)), torch.ones(24), out)
        assert not out.any(), how


def test_through_a_model(wan, monkeypatch):
    """The same frames up to a step of 8 bits; other kernels are other samples to the store."""
    plain = model_of("wan", wan[0], RcmSampler(kind="rcm"), frames=9, fps=16.0)
    fast = model_of("wan", wan[0], RcmSampler(kind="rcm"), frames=9, fps=16.0, decoder="eager")
    for model in (plain, fast):
        model.load("cpu")
    (a,), (b,) = (list(m.generate([item()])) for m in (plain, fast))
    assert a.array.std() > 1 and nearly_all(a.array.astype(int) - b.array, 1)
    assert "decoder" not in plain.identity() and fast.identity()["decoder"] == "eager"


def test_an_image_is_encoded_beside_it(cosmos_video, tmp_path):
    import numpy as np
    from PIL import Image

    picture = np.random.default_rng().integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "00000.png")
    made = []
    for decoder in ("diffusers", "eager"):
        model = model_of("cosmos", cosmos_video[0], RcmSampler(kind="rcm"), frames=5, fps=16.0,
                         image_folder=str(tmp_path), decoder=decoder)  # fmt: skip
        model.load("cpu")
        made += [media.array.astype(int) for media in model.generate([item()])]
    assert nearly_all(made[0] - made[1], 1)


@pytest.mark.parametrize(("changes", "said"), [
    ({"decoder": "triton"}, "decoder: 'triton' needs a CUDA device, got 'cpu'; use eager or"),
    ({"attention": "cudnn"}, "attention: 'cudnn' needs a CUDA device, got 'cpu'; use native"),
])  # fmt: skip
def test_what_only_a_gpu_can_do(changes, said, wan):
    model = model_of("wan", wan[0], RcmSampler(kind="rcm"), **changes)
    with pytest.raises(UserError, match=said):
        model.load("cpu")


def test_another_autoencoder_is_refused(wan):
    vae = autoencoder(base_dim=8, num_res_blocks=1)
    vae.register_to_config(is_residual=True)
    with pytest.raises(ValueError, match="expected Wan2.1's autoencoder"):
        Decoder(vae, torch.float32, "eager")
