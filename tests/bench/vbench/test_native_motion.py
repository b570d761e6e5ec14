"""Optical flow and the two decisions by it, against the protocol: each number from both sides.

A flow field's fastest pixels have a given mean speed, a thousandth above the threshold or below it,
so that any other share of pixels, threshold, step or number of pairs decides otherwise.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from rcm_bench.vbench.native.evaluate import Networks, evaluate, static
from rcm_bench.vbench.native.flow import Flow
from rcm_bench.vbench.native.weights import WeightFiles
from rcm_bench.video import Video

# vbench/dynamic_degree.py and vbench/cli/static_filter.py.
UPDATES = 20
DYNAMIC_TOP, DYNAMIC_PIXELS = 0.05, 6.0
STATIC_TOP, STATIC_PIXELS = 0.02, 3.0
ABOVE, BELOW = 1.001, 0.999


def fastest(flow, share):
    """Return the mean speed of the fastest share of the pixels of a flow (2, H, W), in float64."""
    speed = np.sort(np.hypot(*flow.double().numpy()).ravel())[::-1]
    return speed[: int(speed.size * share)].mean()


def test_speed_is_that_of_raft_after_20_updates(numbers):
    from torchvision.models.optical_flow import raft_large

    frames = numbers.integers(0, 256, (2, 130, 141, 3), dtype=np.uint8)
    raft = raft_large(weights=None, progress=False).eval()
    # To 136 x 144: 3 rows on each side, 1 column on the left and 2 on the right; -1..1.
    padded = np.pad(frames, ((0, 0), (3, 3), (1, 2), (0, 0)), mode="edge") / 255 * 2 - 1
    pixels = torch.from_numpy(padded).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        (expected,) = raft(pixels[:1], pixels[1:], num_flow_updates=UPDATES)[-1]
    for share in (DYNAMIC_TOP, STATIC_TOP):
        (found,) = Flow(raft=raft).magnitudes(torch.from_numpy(frames), [(0, 1)], share)
        assert found == pytest.approx(fastest(expected, share), rel=1e-4)


@pytest.fixture(autouse=True)
def torchvision():
    pytest.importorskip("torchvision", reason="needs torchvision")


@pytest.fixture
def numbers(rng):
    torch.manual_seed(rng.randrange(2**32))
    return np.random.default_rng(rng.randrange(2**32))


def field(numbers, height, width, mean, share):
    """Return a flow of padded sides whose fastest ``share`` of pixels has a mean speed."""
    rows, columns = (8 * -(-length // 8) for length in (height, width))
    angle = numbers.uniform(0, 2 * np.pi, (rows, columns))
    flow = torch.from_numpy(numbers.exponential(size=angle.shape) * [np.cos(angle), np.sin(angle)])
    return (flow * mean / fastest(flow, share)).float()


@pytest.fixture
def judged(monkeypatch):
    """Return a function from a size and given flows to what networks say; no other pair may be."""

    def judge(question, frames, height, width, fps, flows):
        monkeypatch.setattr(
            Flow, "between", lambda _, shown, pairs, known: torch.stack([flows[p] for p in pairs])
        )
        networks = Networks(files=WeightFiles(folder=Path("weights")))
        vars(networks)["flow"] = Flow(raft=None)
        small = np.zeros((frames, 1, 1, 3), dtype=np.uint8)
        other = np.broadcast_to(small, (frames, height, width, 3))
        return question(Video(frames=small, fps=fps, frames_bt601=other), networks)

    return judge


def dynamic(video, networks):
    (parts,) = evaluate(video, ["dynamic_degree"], networks).values()
    assert parts.denominator == 1
    return parts.numerator


@pytest.mark.parametrize(
    ("frames", "fps", "step", "pairs", "needed"),
    [
        (16, 8.0, 1, 15, 4),
        (31, 16.0, 2, 15, 4),  # 16 frames are left
        (31, 24.0, 3, 10, 3),  # 11 are left, 11 / 4 = 2.75
        (10, 20.0, 2, 4, 1),  # 2.5 to even; 5 are left, 1.25
        (37, 30.0, 4, 9, 2),  # 3.75; 10 are left, 2.5 to even
        (14, 3.0, 1, 13, 4),  # less than one a step; 3.5 to even
    ],
)
@pytest.mark.parametrize("size", [(130, 149), (200, 131)], ids=str)
def test_a_dynamic_video_has_enough_fast_pairs(
    numbers, judged, size, frames, fps, step, pairs, needed
):
    threshold = DYNAMIC_PIXELS * min(size) / 256
    fast, slow = (field(numbers, *size, k * threshold, DYNAMIC_TOP) for k in (ABOVE, BELOW))
    for many, degree in ((needed, 1.0), (needed - 1, 0.0)):
        chosen = set(numbers.permutation(pairs)[:many].tolist())
        flows = {(step * i, step * (i + 1)): fast if i in chosen else slow for i in range(pairs)}
        assert judged(dynamic, frames, *size, fps, flows) == degree


@pytest.mark.parametrize(
    ("frames", "allowed"),
    [(16, 2), (20, 2), (28, 4), (13, 2), (4, 0)],  # 2.5 and 3.5 to even, 1.625, 0.5 to even
)
@pytest.mark.parametrize("size", [(130, 149), (200, 131)], ids=str)
def test_a_static_video_has_few_fast_pairs_and_ends_near_its_start(
    numbers, judged, size, frames, allowed
):
    threshold = STATIC_PIXELS * min(size) / 256
    near, far = threshold, threshold * allowed * 2
    fast, slow = (field(numbers, *size, k * near, STATIC_TOP) for k in (ABOVE, BELOW))
    there, away = (field(numbers, *size, k * far, STATIC_TOP) for k in (BELOW, ABOVE))
    away = away if allowed else fast
    last = frames - 1

    def stands(many, out, back):
        chosen = set(numbers.permutation(last)[:many].tolist())
        flows = {(i, i + 1): fast if i in chosen else slow for i in range(last)}
        flows |= {(0, last): out, (last, 0): back}
        return judged(static, frames, *size, 30.0, flows)

    assert stands(allowed, there, there)
    assert not stands(allowed + 1, there, there)
    assert not stands(0, away, there)
    assert not stands(0, there, away)
