"""Optical flow: torchvision's own result, from frames that are encoded once."""

import numpy as np
import pytest
import torch

from rcm_bench.errors import UserError
from rcm_bench.vbench.native.flow import UPDATES, Flow


@pytest.fixture(scope="module")
def flow():
    library = pytest.importorskip("torchvision.models.optical_flow", reason="needs torchvision")
    return Flow(raft=library.raft_large(weights=None, progress=False).eval())


def test_the_flow_is_that_of_the_library_on_padded_frames(flow):
    frames = np.random.default_rng().integers(0, 256, (3, 130, 141, 3), dtype=np.uint8)
    # To 136 x 144: 3 rows on each side, 1 column on the left and 2 on the right.
    padded = np.pad(frames, ((0, 0), (3, 3), (1, 2), (0, 0)), mode="edge")
    pixels = torch.from_numpy(padded).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        ours = flow.between(torch.from_numpy(frames), [(0, 2), (2, 0)])
        theirs = flow.raft(pixels[[0, 2]], pixels[[2, 0]], num_flow_updates=UPDATES)[-1]
    assert ours.shape == (2, 2, 136, 144)
    assert float((ours - theirs).abs().max()) <= 1e-4 * float(theirs.abs().max())


def test_magnitude_is_the_mean_of_the_fastest_pixels(flow, monkeypatch):
    speeds = torch.arange(200.0).reshape(1, 10, 20)
    given = torch.stack((0.6 * speeds, 0.8 * speeds), dim=1)
    monkeypatch.setattr(Flow, "between", lambda *_: given)
    frames = torch.zeros((2, 128, 128, 3), dtype=torch.uint8)
    # 5 % of 200 pixels: 190 to 199; 2 %: 196 to 199.
    assert list(flow.magnitudes(frames, [(0, 1)], 0.05)) == [pytest.approx(194.5)]
    assert list(flow.magnitudes(frames, [(0, 1)], 0.02)) == [pytest.approx(197.5)]


def test_frames_too_small_for_flow_are_refused(flow):
    frames = torch.zeros((2, 120, 200, 3), dtype=torch.uint8)
    with pytest.raises(UserError, match="at least 128 px a side, got 200x120"):
        list(flow.magnitudes(frames, [(0, 1)], 0.05))
