"""What each network of VBench sees of a frame, pixel by pixel against the protocol in float64."""

import native_protocol as protocol
import numpy as np
import pytest
import torch

from rcm_bench.vbench.native import pixels
from rcm_bench.vbench.native.subject_consistency import dino_positions

# Shrunk and stretched, upright and wide, square, sides whose share is cut and not rounded.
SIZES = [(243, 539), (539, 243), (300, 233), (224, 224), (130, 141), (480, 700)]


@pytest.fixture(autouse=True)
def torchvision():
    pytest.importorskip("torchvision", reason="needs torchvision")


@pytest.fixture
def frames(rng, request):
    numbers = np.random.default_rng(rng.randrange(2**32))
    return numbers.integers(0, 256, (2, *request.param, 3), dtype=np.uint8)


def held(found, reference, frames):
    """Hold pixels to float64: at most twice the error that the protocol has in float32.

    It grows with the sides: places are float32 too, and noise is steep.
    """
    golden, package = reference(frames), reference(frames, torch.float32)
    assert found.dtype == torch.float32 and found.shape == golden.shape
    rounding = torch.finfo(torch.float32).eps * float(golden.abs().max())
    budget = 2 * (float((package - golden).abs().max()) + rounding)
    assert budget < 1e-3
    assert float((found - golden).abs().max()) <= budget


@pytest.mark.parametrize("frames", SIZES, indirect=True, ids=str)
def test_clip_sees_the_middle_square_resized_by_cubes_without_antialiasing(frames):
    held(pixels.clip_pixels(torch.from_numpy(frames)), protocol.clip, frames)


@pytest.mark.parametrize("frames", SIZES, indirect=True, ids=str)
def test_clip_sees_for_style_what_pil_makes_with_antialiasing_in_8_bits(frames):
    held(pixels.clip_pixels_pil(frames, "cpu"), protocol.clip_pil, frames)


@pytest.mark.parametrize("frames", SIZES, indirect=True, ids=str)
def test_dino_sees_the_whole_frame_resized_by_lines_without_antialiasing(frames):
    held(pixels.dino_pixels(torch.from_numpy(frames)), protocol.dino, frames)


@pytest.mark.parametrize("frames", [*SIZES, (512, 300), (300, 513)], indirect=True, ids=str)
def test_musiq_sees_at_most_512_pixels_a_side(frames):
    held(pixels.musiq_pixels(torch.from_numpy(frames)), protocol.musiq, frames)


@pytest.mark.parametrize(
    "size", [(224, 224), (224, 233), (239, 224), (224, 240), (224, 496), (398, 224)], ids=str
)
def test_dino_stretches_its_positions_by_its_own_factors(size, rng):
    torch.manual_seed(rng.randrange(2**32))
    embedding = torch.randn(1, 1 + 14 * 14, 6)
    golden = protocol.dino_positions(embedding, *size)
    grid = (length // 16 for length in size)
    found = dino_positions(embedding, *grid, square=size[0] == size[1])
    assert found.shape == golden.shape
    assert float((found - golden).abs().max()) <= 1e-4
