import math
from collections import Counter

import numpy as np
import pytest
import torch

from rcm_distill.lab.calibration import fit_logistic
from rcm_distill.lab.damage import Damage, no_shapes
from rcm_distill.lab.degradation import (
    grade,
    is_exact,
    random_prompts,
    relation_holds,
    relations,
    truth_of,
    wilson,
)
from rcm_distill.lab.oracle import Reading, SceneReading, read
from rcm_distill.lab.render import render, to_uint8
from rcm_distill.lab.world import Scenes, sample_scenes, sample_training


def drawn(n, seed):
    prompts = random_prompts(n, np.random.default_rng(seed))
    scenes = sample_scenes(prompts, torch.Generator().manual_seed(seed))
    return prompts, scenes, to_uint8(render(scenes))


def test_clean_scenes_are_read_back(seed):
    prompts, scenes, images = drawn(300, seed)
    readings = read(images)
    exact = [is_exact(*pair) for pair in zip(truth_of(scenes), readings, strict=True)]
    assert np.mean(exact) >= 0.99
    positions = [i for i, prompt in enumerate(prompts) if prompt.task == "position"]
    assert np.mean([relation_holds(prompts[i], readings[i]) for i in positions]) >= 0.98
    scores = np.array([r.score for reading in readings for r in reading.objects])
    assert np.mean(scores > 0.9) >= 0.99
    assert max(reading.residual for reading in readings) < 0.01
    ratio = [r.high_frequency / r.high_frequency_rendered for r in readings]
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.02)


def test_geometry_and_background_are_recovered(seed):
    _, scenes, images = drawn(120, seed)
    for row, reading in enumerate(read(images)):
        for found in reading.objects:
            away = torch.linalg.vector_norm(scenes.xy[row] - torch.tensor(found.xy), dim=-1)
            slot = int(away.masked_fill(scenes.cls[row] < 0, math.inf).argmin())
            assert float(away[slot]) < 0.1
            assert found.radius == pytest.approx(float(scenes.radius[row, slot]), abs=0.12)
            x0, y0, x1, y1 = found.box
            x, y = found.xy
            assert x - found.radius - 1 <= x0 < x < x1 <= x + found.radius + 1
            assert y - found.radius - 1 <= y0 < y < y1 <= y + found.radius + 1
        assert reading.background[0] == pytest.approx(float(scenes.background[row, 0]), abs=0.02)
        assert reading.background[1] == pytest.approx(float(scenes.background[row, 1]), abs=0.02)


def test_box_is_tight_and_exclusive():
    images = np.full((1, 40, 40, 3), 128, np.uint8)
    images[0, 10:21, 5:16] = (225, 35, 35)
    (reading,) = read(images)
    (found,) = reading.objects
    assert (found.name, found.color, found.box) == ("square", "red", (5, 10, 16, 21))
    assert found.xy == pytest.approx((10.5, 15.5), abs=0.05)
    assert found.radius == pytest.approx(5.5 * math.sqrt(2), abs=0.1)


@pytest.mark.parametrize(
    ("damage", "least"),
    [
        (Damage(noise=0.05), 0.95),
        (Damage(blur=0.75), 0.95),
        (Damage(jpeg=75), 0.95),
        (Damage(blur=0.5, noise=0.05, jpeg=75), 0.93),
    ],
    ids=str,
)
def test_mild_damage_is_read_through(damage, least, seed):
    prompts, scenes, images = drawn(120, seed)
    readings = read(damage(images, np.random.default_rng(seed)))
    grades = list(map(grade, prompts, truth_of(scenes), readings))
    assert np.mean([g.exact for g in grades]) >= least
    assert np.mean([g.detected for g in grades]) >= least


def test_scores_fall_and_residual_rises_with_the_dose(seed):
    _, _, images = drawn(90, seed)
    rng = np.random.default_rng(seed)
    for doses in (
        [Damage(noise=s) for s in (0.0, 0.05, 0.1, 0.2)],
        [Damage(blur=s) for s in (0.0, 0.7, 1.2, 2.0)],
    ):
        readings = [read(damage(images, rng)) for damage in doses]
        scores = [np.mean([r.score for x in batch for r in x.objects]) for batch in readings]
        residuals = [np.mean([x.residual for x in batch]) for batch in readings]
        assert scores == sorted(scores, reverse=True)
        assert residuals == sorted(residuals)


def test_blur_and_noise_show_in_the_high_frequencies(seed):
    _, _, images = drawn(60, seed)
    rng = np.random.default_rng(seed)

    def ratio(damage):
        readings = read(damage(images, rng))
        return np.mean([r.high_frequency / r.high_frequency_rendered for r in readings])

    assert ratio(Damage(blur=1.0)) < 0.6
    assert ratio(Damage(noise=0.05)) > 1.3


def test_blobs_that_are_no_shape_get_low_scores_and_are_not_dropped(seed):
    scenes = sample_training(180, torch.Generator().manual_seed(seed)).scenes
    readings = read(no_shapes(scenes, seed))
    scores = np.array([r.score for reading in readings for r in reading.objects])
    assert all(reading.objects for reading in readings[:60])  # merged pairs are there to be seen
    assert np.mean(scores > 0.9) < 0.15
    assert np.mean(scores > 0.3) < 0.35


def test_touching_objects_are_one_doubtful_reading():
    none = torch.full((1, 2), -1)
    scenes = Scenes(
        cls=torch.cat([torch.tensor([[0, 1]]), none], 1),
        color=torch.cat([torch.tensor([[0, 4]]), none], 1),
        xy=torch.tensor([[[13.0, 20.0], [25.0, 20.0], [0.0, 0.0], [0.0, 0.0]]]),
        radius=torch.tensor([[7.0, 8.0, 0.0, 0.0]]),
        angle=torch.zeros(1, 4),
        background=torch.tensor([[0.0, 0.05, 1.0, 0.5, 0.0]]),
    )
    (reading,) = read(to_uint8(render(scenes)))
    assert len(reading.objects) == 1
    assert reading.objects[0].score < 0.3


@pytest.mark.parametrize("level", [0, 60, 128, 255])
def test_flat_images_hold_no_confident_object(level):
    for reading in read(np.full((2, 40, 40, 3), level, np.uint8)):
        assert all(r.score < 0.01 for r in reading.objects)
        assert math.isfinite(reading.residual)
        assert all(map(math.isfinite, reading.background))


def test_garbage_holds_no_confident_object(seed):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (20, 40, 40, 3), dtype=np.uint8)
    board = np.where(np.indices((40, 40)).sum(0) // 4 % 2, 255, 0).astype(np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, 40).astype(np.uint8)[:, None], (40, 40))
    half = np.full((40, 40, 3), 128, np.uint8)
    half[:, 20:] = (250, 140, 15)
    grey = np.stack([np.repeat(image[..., None], 3, -1) for image in (board, ramp)])
    for reading in read(np.concatenate([noise, grey, half[None]])):
        assert all(r.score < 0.3 for r in reading.objects)
        assert reading.residual > 0.1


def test_bare_backgrounds_hold_nothing(generator):
    scenes = sample_training(100, generator).scenes
    bare = scenes._replace(cls=torch.full_like(scenes.cls, -1))
    for reading in read(to_uint8(render(bare))):
        assert reading.objects == []
        assert reading.residual < 0.01


def test_a_reading_does_not_depend_on_its_batch(seed):
    _, _, images = drawn(70, seed)
    together = read(images)
    for row in (0, 31, 69):
        (alone,) = read(images[row : row + 1])
        assert [r[:2] for r in alone.objects] == [r[:2] for r in together[row].objects]
        assert [r.box for r in alone.objects] == [r.box for r in together[row].objects]
        scores = [[r.score for r in reading.objects] for reading in (alone, together[row])]
        np.testing.assert_allclose(*scores, atol=1e-3)


def test_read_takes_any_number_and_refuses_other_arrays():
    assert read(np.zeros((0, 40, 40, 3), np.uint8)) == []
    for wrong in (
        np.zeros((2, 3, 40, 40), np.uint8),
        np.zeros((40, 40, 3), np.uint8),
        np.zeros((2, 40, 40, 3), np.float32),
    ):
        with pytest.raises(ValueError, match=r"images must be uint8 \(B, 40, 40, 3\), got"):
            read(wrong)


def boxed(*box):
    return Reading("star", "red", 1.0, box, (0.0, 0.0), 5.0, 0.0)


def test_relations_follow_genevals_rule_for_boxes():
    centre = boxed(10, 10, 20, 20)
    assert relations(boxed(0, 10, 10, 20), centre) == {"left of"}
    assert relations(boxed(20, 10, 30, 20), centre) == {"right of"}
    assert relations(boxed(10, 0, 20, 10), centre) == {"above"}
    assert relations(boxed(30, 30, 40, 40), centre) == {"right of", "below"}
    assert relations(boxed(11, 10, 21, 20), centre) == set()  # inside the deadband
    assert relations(centre, centre) == set()


def test_is_exact_counts_doubles():
    found = SceneReading([boxed(0, 0, 9, 9)] * 2, (0.0,) * 5, 0.0, 0.0, 0.0)
    truth = truth_of(
        Scenes(
            cls=torch.tensor([[3, 3, 3, -1]]),
            color=torch.tensor([[0, 0, 0, -1]]),
            xy=torch.zeros(1, 4, 2),
            radius=torch.zeros(1, 4),
            angle=torch.zeros(1, 4),
            background=torch.zeros(1, 5),
        )
    )[0]
    assert Counter(truth.names)[("star", "red")] == 3
    assert not is_exact(truth, found)
    assert is_exact(truth._replace(names=truth.names[:2]), found)


def test_logistic_fit_recovers_its_weights(generator):
    x = torch.randn(20_000, 3, generator=generator, dtype=torch.float64)
    x[:, 0] = 1
    weights = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    right = torch.rand(20_000, generator=generator) < torch.sigmoid(x @ weights)
    np.testing.assert_allclose(fit_logistic(x, right), weights, atol=0.2)


def test_wilson_interval_has_its_textbook_value():
    low, high = wilson(0.5, 100)
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    assert wilson(1.0, 2000)[0] == pytest.approx(0.99808, abs=1e-5)
