"""The collapsed generators do what their doses say, and the truth falls with the dose."""

import numpy as np
import pytest
import torch
from scipy import stats

from rcm_bench.diversity_calibration.generators import Collapse, coverage, draw
from rcm_bench.diversity_calibration.measure import _spearman
from rcm_distill.lab.grammar import prompt_set

PROMPTS = prompt_set(1, 5)


def scenes(kind, dose, samples=40):
    seed = int(np.random.default_rng().integers(2**31))
    drawn = draw(PROMPTS, samples, Collapse(kind, dose), 11, seed)
    return drawn._replace(**{n: t.unflatten(0, (-1, samples)) for n, t in drawn._asdict().items()})


def number_of_places(drawn):
    return [len(torch.unique(xy, dim=0)) for xy in drawn.xy[:, :, 0]]


def test_few_modes():
    assert number_of_places(scenes("modes", 1.0)) == [1] * 6
    assert max(number_of_places(scenes("modes", 0.25))) <= 4
    assert number_of_places(scenes("none", 0.0)) == [40] * 6


def test_one_mode_takes_its_weight():
    drawn = scenes("weight", 0.5, 400)
    mode = scenes("modes", 1.0, 1)
    share = (drawn.background == mode.background).all(-1).float().mean()
    assert share == pytest.approx(0.5, abs=5 * (0.25 / 2400) ** 0.5)


def test_shrinking_narrows_by_the_dose():
    spread = [float(scenes("shrink", dose, 400).background.std(1).mean()) for dose in (0.0, 0.75)]
    assert spread[1] / spread[0] == pytest.approx(0.25, rel=0.15)


@pytest.mark.parametrize("name", ["color", "place", "background"])
def test_one_attribute_freezes(name):
    drawn = scenes(name, 1.0)
    still = {
        "place": number_of_places(drawn) == [1] * 6,
        "background": float(drawn.background.std(1).max()) < 1e-6,
        "color": all(len(c.unique()) == 1 for c in drawn.color[:, :, 0]),
    }
    assert still.pop(name) and not still["background" if name == "place" else "place"]


def test_the_truth_falls_with_the_dose():
    for kind, doses in (
        ("modes", (0.125, 0.5, 1.0)),
        ("weight", (0.25, 0.75)),
        ("shrink", (0.75,)),
    ):
        found = [
            coverage(PROMPTS, collapse, 11, 3, draws=200)
            for collapse in (Collapse("none", 0.0), *(Collapse(kind, dose) for dose in doses))
        ]
        assert found == sorted(found, reverse=True) and found[0] > 0.75
        assert found[0] - found[-1] > 0.1


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng()
    values, truth = rng.integers(0, 6, (4, 12)).astype(float), rng.normal(size=12)
    expected = [stats.spearmanr(row, truth).statistic for row in values]
    np.testing.assert_allclose(_spearman(values, truth), expected)
    assert np.isnan(_spearman(np.ones((1, 12)), truth)[0])
