"""PRDC without each prompt: equal to taking it again, and intervals that cover."""

import numpy as np
import pandas as pd
import pytest

from rcm_bench.feature_measures import ROW, _leaving_out
from rcm_bench.statistics.clusters import Clusters
from rcm_bench.statistics.coverage import prdc
from rcm_bench.statistics.coverage_jackknife import smallest, without_each
from rcm_bench.statistics.intervals import estimate


@pytest.mark.parametrize("rounded", [False, True])
def test_leaving_a_prompt_out_is_taking_the_number_again(rounded):
    rng = np.random.default_rng()
    for _ in range(15):
        num, nearest = int(rng.integers(5, 12)), int(rng.integers(1, 4))
        labels = [
            rng.permutation(np.repeat(np.arange(num), rng.integers(low, 6, num))) for low in (2, 0)
        ]
        real, fake = (rng.normal(size=(len(each), 2)) for each in labels)
        if rounded:  # many ties, and copies at distance 0
            real, fake = np.round(real), np.round(fake)
        if smallest(*labels) <= nearest:
            continue
        found = without_each(real, fake, *labels, nearest)
        for prompt in range(num):
            again = prdc(real[labels[0] != prompt], fake[labels[1] != prompt], nearest)
            for name in again._fields:
                one = getattr(found, name)[prompt]
                assert one == pytest.approx(getattr(again, name).mean(), abs=1e-12), name


def test_sets_that_are_too_small_without_a_prompt_are_refused():
    labels = np.repeat([0, 1], 3)
    with pytest.raises(ValueError, match="3 neighbours need more samples than 3"):
        without_each(np.eye(6), np.eye(6), labels, labels, 3)


def interval(values, labels, without, kind, *, jackknife):
    rows = pd.DataFrame(0.0, index=range(len(without)), columns=ROW)
    rows = rows.assign(prompt_id=range(len(without)), stratum="t")
    rows["numerator"] = np.bincount(labels, weights=values * 1.0)
    rows["denominator"] = np.bincount(labels).astype(float)
    if jackknife:
        rows = _leaving_out(rows, dict(enumerate(without)))
    numerator, denominator = (rows[[name]].to_numpy() for name in ("numerator", "denominator"))
    strata = np.zeros(len(rows), dtype=np.int64)
    found = estimate(
        Clusters(numerator=numerator, denominator=denominator, strata=strata), kind=kind
    )
    return found.low, found.high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompts", "seeds", "width", "between", "spread", "shift"),
    [
        (40, 4, 4, 2.0, 1.0, 0.0),  # one law
        (40, 4, 4, 2.0, 0.4, 0.0),  # collapsed
        (100, 2, 8, 1.0, 0.4, 0.0),
        (60, 4, 4, 0.0, 1.0, 0.7),  # elsewhere, and prompts that say nothing
    ],
)
def test_intervals_cover_what_new_prompts_give(prompts, seeds, width, between, spread, shift):
    """95 % is claimed; of 300 draws 255 may be a chance of 1e-9, and the old way gave 0.7."""
    rng = np.random.default_rng()
    labels = np.repeat(np.arange(prompts), seeds)
    made = {name: [] for name in ("precision", "density", "recall", "coverage")}
    for _ in range(300):
        centres = between * rng.normal(size=(prompts, width))[labels]
        real = centres + rng.normal(size=centres.shape)
        fake = centres + spread * rng.normal(size=centres.shape) + shift
        found, left = prdc(real, fake), without_each(real, fake, labels, labels)
        for name, rows in made.items():
            values, without = getattr(found, name), getattr(left, name)
            kind = "mean" if name == "density" else "proportion"
            ends = [interval(values, labels, without, kind, jackknife=j) for j in (False, True)]
            rows.append((values.mean(), *ends[0], *ends[1]))
    for name, rows in made.items():
        value, low, high, own_low, own_high = np.array(rows).T
        truth = value.mean()
        old = np.mean((low <= truth) & (truth <= high))
        new = np.mean((own_low <= truth) & (truth <= own_high))
        print(f"{name}: mean {truth:.3f}, covered {new:.3f} (sums alone: {old:.3f})")
        assert new >= 0.85
