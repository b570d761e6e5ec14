"""The native dimensions' rules without networks: cases worked out by hand."""

import math

import numpy as np
import pytest
import torch

from rcm_bench.vbench.native.consistency import consistency
from rcm_bench.vbench.native.dynamic_degree import chosen, moves
from rcm_bench.vbench.native.parts import Parts, aggregate
from rcm_bench.vbench.native.static_filter import stands
from rcm_bench.vbench.native.temporal_flickering import temporal_flickering


def test_consistency_compares_with_the_first_and_the_one_before():
    # Angles 0, 60, 90 degrees, then opposite to the first: negative likeness counts as none.
    angles = torch.tensor([0.0, 60.0, 90.0, 180.0]).deg2rad()
    lengths = torch.tensor([1.0, 7.0, 0.1, 3.0])
    features = torch.stack((angles.cos(), angles.sin()), dim=1) * lengths[:, None]
    parts = consistency(features)
    # (cos 60 + cos 60) / 2, (cos 30 + cos 90) / 2, (cos 90 + 0) / 2
    assert parts.numerator == pytest.approx(0.5 + math.sqrt(3) / 4 + 0, abs=1e-6)
    assert parts.denominator == 3


def test_frames_weigh_equally_in_consistency_and_videos_elsewhere():
    # Three frames at 0.9 and one at 0.5: 0.8 by frames, not 0.7 by videos.
    assert aggregate([Parts(2.7, 3), Parts(0.5, 1)]) == pytest.approx(0.8)
    assert aggregate([Parts(0.9, 1), Parts(0.5, 1)]) == pytest.approx(0.7)
    assert Parts(2.7, 3).value == pytest.approx(0.9)
    with pytest.raises(ValueError, match="at least one video"):
        aggregate([])


def test_flickering_by_hand():
    frames = torch.zeros((3, 2, 2, 3), dtype=torch.uint8)
    frames[1] = 51  # 51 of 255 away, upwards and then downwards half as far on half the pixels
    frames[2] = 51
    frames[2, 0] = 0
    assert temporal_flickering(frames) == Parts(pytest.approx((255 - (51 + 25.5) / 2) / 255), 1)


@pytest.mark.parametrize(
    ("frames", "fps", "expected"),
    [
        (81, 16, 41),  # every second
        (81, 8, 81),
        (5, 24, 2),  # 0, 3
        (10, 30, 3),  # 30 / 8 = 3.75: every fourth
        (10, 20, 5),  # 20 / 8 = 2.5 rounds to even: every second
        (10, 28, 3),  # 28 / 8 = 3.5 rounds to even: every fourth
        (4, 1, 4),
    ],
)
def test_about_eight_frames_a_second_are_compared(frames, fps, expected):
    assert len(chosen(frames, fps)) == expected


def test_a_video_moves_if_enough_pairs_are_fast():
    # 16 frames of side 256: 4 pairs faster than 6 px; 128 px of side: 3 px.
    slow, fast = [6.0] * 12, [6.01] * 4
    assert moves(slow[:11] + fast, 16, 256)
    assert not moves(slow + fast[:3], 16, 256)
    assert moves([3.01] * 15, 16, 128)
    assert not moves([3.0] * 15, 16, 128)
    # 10 frames need round(2.5) = 2 pairs, to even; 14 need round(3.5) = 4.
    assert moves([9.0] * 2 + [0.0] * 7, 10, 256)
    assert not moves([9.0] * 3 + [0.0] * 10, 14, 256)


def test_with_two_frames_every_video_moves_and_with_one_none():
    assert moves([0.0], 2, 256)
    assert not moves([], 1, 256)


def counted(values, seen):
    for value in values:
        seen.append(value)
        yield value


def test_no_more_pairs_are_looked_at_than_the_answer_needs():
    seen: list[float] = []
    assert moves(counted([9.0] * 15, seen), 16, 256)
    assert len(seen) == 4
    seen.clear()
    # 4 of 15 are needed: after 12 slow ones the other 3 cannot help.
    assert not moves(counted([0.0] * 15, seen), 16, 256)
    assert len(seen) == 12
    seen.clear()
    assert not stands(counted([9.0] * 15, seen), [0.0, 0.0], 16, 256)
    assert len(seen) == 3


def reference_moves(magnitudes, num_frames, side):
    count = sum(m > 6.0 * side / 256 for m in magnitudes)
    return bool(magnitudes) and count >= round(4 * num_frames / 16)


def reference_stands(neighbours, far, num_frames, side):
    threshold, allowed = 3.0 * side / 256, round(2 * num_frames / 16)
    few = sum(m > threshold for m in neighbours) <= allowed
    return few and all(m <= threshold * allowed * 2 for m in far)


def test_leaving_early_changes_no_decision():
    random = np.random.default_rng()
    seen = set()
    for _ in range(2000):
        frames = int(random.integers(1, 40))
        side = int(random.choice([128, 256, 480]))
        speeds = (random.exponential(4.0, frames + 1) * side / 256).tolist()
        ahead, far = speeds[: frames - 1], speeds[-2:]
        expected = reference_moves(ahead, frames, side), reference_stands(ahead, far, frames, side)
        assert (moves(ahead, frames, side), stands(ahead, far, frames, side)) == expected
        seen.add(expected)
    assert {flag for flag, _ in seen} == {flag for _, flag in seen} == {True, False}


def test_no_more_pairs_are_looked_at_than_a_decision_needs():
    # 16 frames: the third fast pair of neighbours decides, or the thirteenth slow one of fifteen.
    fast, slow = iter([9.0] * 15), iter([0.0] * 15)
    assert not stands(fast, [0.0, 0.0], 16, 256) and len(list(fast)) == 12
    assert stands(slow, [0.0, 0.0], 16, 256) and len(list(slow)) == 2


def test_a_static_video_has_few_fast_pairs_and_ends_near_its_start():
    # 16 frames of side 256: at most 2 pairs over 3 px, the ends within 12 px.
    assert stands([3.01] * 2 + [3.0] * 13, [12.0, 12.0], 16, 256)
    assert not stands([3.01] * 3 + [0.0] * 12, [0.0, 0.0], 16, 256)
    assert not stands([0.0] * 15, [0.0, 12.01], 16, 256)
    # Under 5 frames round(2 n / 16) is 0: one fast pair is too many, and the ends must not move.
    assert not stands([0.0] * 3, [0.1, 0.0], 4, 256)
    assert stands([0.0] * 3, [0.0, 0.0], 4, 256)
