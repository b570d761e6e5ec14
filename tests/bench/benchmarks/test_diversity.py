"""Diversity against the truth: unbiased on the world's own scenes, 0 for copies, pairs only."""

import math
import secrets

import numpy as np
import pandas as pd
import pytest
import torch
from bench_tables import make_samples, make_scores
from scipy.optimize import linear_sum_assignment

from rcm_bench.aggregate import aggregate
from rcm_bench.benchmarks.diversity import ATTRIBUTES, Benchmark, _assignment, gaps, jackknife
from rcm_bench.types import Reference
from rcm_distill.lab.grammar import COLORS, prompt_set
from rcm_distill.lab.world import Scenes, sample_scenes, true_dispersion

K = 4


def slot(color="red", xy=(0.0, 0.0), radius=5.0, free=True):
    return {"name": "star", "color": color, "xy": list(xy), "radius": radius, "free": free}


def scene(*slots, tone=0.0, exchangeable=False, truth=None):
    truth = truth or {"color": 0.9, "place": 10.0, "size": 1.0, "background": 0.2}
    return {"slots": list(slots), "exchangeable": exchangeable, "tone": tone, "truth": truth}


def test_gaps_by_hand() -> None:
    a = scene(slot("red", (0, 0), 5), slot("blue", (3, 4), 6, free=False), tone=0.1)
    b = scene(slot("green", (6, 8), 4), slot("red", (3, 4), 6.5, free=False), tone=-0.2)
    found = gaps(a, b)
    assert found == pytest.approx({"background": 0.3, "place": 5.0, "size": 0.75, "color": 1.0})


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_matching_is_the_best_of_all_assignments(size) -> None:
    rng = np.random.default_rng(secrets.randbits(32))
    for _ in range(50):
        places = 40 * rng.random((2, size, 2))
        a, b = ([slot("red", tuple(xy), 5) for xy in side] for side in places)
        distance = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1)
        assert _assignment(a, b, True) == linear_sum_assignment(distance)[1].tolist()


def test_exchangeable_objects_are_matched_by_the_nearest_arrangement() -> None:
    a = scene(slot("red", (0, 0), 5), slot("blue", (20, 0), 7), exchangeable=True)
    b = scene(slot("blue", (20, 1), 7), slot("red", (0, 1), 5), exchangeable=True)
    assert gaps(a, b) == pytest.approx({"background": 0, "place": 1.0, "size": 0.0, "color": 0.0})


def test_a_lost_object_leaves_only_the_background() -> None:
    assert gaps(scene(slot(), None), scene(slot(), slot())) == {"background": 0.0}
    assert gaps(scene(slot(), tone=None), scene(slot())).keys() == {"place", "size", "color"}


def measured(samples, details, model="m"):
    values = [math.nan if d is None else 1.0 for d in details]
    scores = make_scores(samples, "scene", values, [d or {} for d in details])
    cell = samples[["model", "steps"]].drop_duplicates().iloc[0]
    reference = Reference(model=cell["model"], steps=int(cell["steps"]))
    table = aggregate(samples, scores, [Benchmark()], reference, "abc").measurements
    return table[table["model"] == model].set_index("metric")


def test_pairs_over_truth_by_hand() -> None:
    """Two of three pairs differ in colour where 0.9 of them should: 2 / 2.7."""
    samples = make_samples([("m", "x", 1)], [("p", "single_object")], seeds=3)
    details = [scene(slot("red")), scene(slot("red")), scene(slot("blue", (3, 4)))]
    found = measured(samples, details)
    assert found.loc["color", "value"] == pytest.approx(2 / 2.7)
    assert found.loc["place", "value"] == pytest.approx(10 / 30)
    assert found.loc["background", "value"] == 0.0
    assert found.loc["overall", "value"] == pytest.approx((2 / 2.7 + 1 / 3) / 4)


def test_missing_objects_are_counted_and_make_no_pairs() -> None:
    samples = make_samples([("m", "x", 1)], [("p", "single_object")], seeds=4)
    details = [scene(slot("red")), scene(None), scene(slot("blue")), None]
    found = measured(samples, details)
    assert found.loc["color", ["n_samples", "n_missing"]].tolist() == [2, 2]
    assert found.loc["background", ["n_samples", "n_missing"]].tolist() == [3, 1]
    assert found.loc["color", "value"] == pytest.approx(1 / 0.9)
    assert found.loc["color", "method"].startswith("no interval: 1 prompts")


def test_prompts_that_fix_the_colour_say_nothing_of_it() -> None:
    fixed = {"color": None, "place": 10.0, "size": 1.0, "background": 0.2}
    samples = make_samples([("m", "x", 1)], [("p", "colors"), ("q", "single_object")], seeds=2)
    details = [scene(slot(free=False), truth=fixed)] * 2 + [scene(slot("red")), scene(slot("blue"))]
    found = measured(samples, details)
    assert found.loc["color", "n_prompts"] == 1
    assert found.loc["place", "n_prompts"] == 2


def test_a_cell_without_scenes_is_missing_not_zero() -> None:
    samples = make_samples([("t", "x", 1), ("m", "x", 1)], [("p", "single_object")], seeds=2)
    details = [scene(slot("red")), scene(slot("blue")), None, None]
    found = measured(samples, details)
    assert found["value"].isna().all()
    assert (found["n_missing"] == 2).all()


def as_details(scenes: Scenes, index: int, prompt) -> dict:
    """Describe a true scene as the scorer would."""
    free = [c.color is None for c in prompt.include for _ in range(c.count)]
    xy, radius = scenes.xy[index].tolist(), scenes.radius[index].tolist()
    names = [COLORS[c] for c in scenes.color[index]]
    slots = [slot(names[j], xy[j], radius[j], f) for j, f in enumerate(free)]
    truth = {k: None if math.isnan(v) else v for k, v in true_dispersion(prompt)._asdict().items()}
    tone = float(scenes.background[index, 0])
    return scene(*slots, tone=tone, exchangeable=prompt.task == "counting", truth=truth)


@pytest.fixture(scope="module")
def world():
    """Scenes of the world itself, K seeds a prompt; copies of the first seed; one copy among K."""
    seed = int(np.random.default_rng().integers(2**31))
    print("seed", seed)
    generator = torch.Generator().manual_seed(seed)
    prompts = prompt_set(40, seed=seed)
    samples = make_samples(
        [("truth", "x", 1), ("copies", "x", 1), ("one copy", "x", 1)],
        [(f"p{i:03d}", p.task) for i, p in enumerate(prompts)],
        seeds=K,
    )
    scenes = sample_scenes([p for p in prompts for _ in range(K)], generator)
    details = [as_details(scenes, i * K + k, p) for i, p in enumerate(prompts) for k in range(K)]
    copies = [details[i - i % K] for i in range(len(details))]
    twins = [details[i - 1] if i % K == 1 else d for i, d in enumerate(details)]
    scores = make_scores(samples, "scene", np.ones(len(samples)), details + copies + twins)
    reference = Reference(model="truth", steps=1)
    return aggregate(samples, scores, [Benchmark()], reference, "abc")


def test_true_scenes_are_as_diverse_as_the_truth(world) -> None:
    found = world.measurements.query("model == 'truth'").set_index("metric")
    for name in ("overall", *ATTRIBUTES):
        value, se = found.loc[name, ["value", "se"]]
        # 1 % for the truth's own simulation error, which true_dispersion documents.
        assert abs(value - 1) < 5 * se + 0.01, name
        assert se < 0.1


def test_copies_have_no_diversity_and_are_told_apart(world) -> None:
    found = world.measurements.query("model == 'copies'")
    np.testing.assert_allclose(found["value"], 0.0, atol=1e-12)
    assert found["method"].str.startswith("no interval: all prompts gave the same value").all()
    pairs = world.paired.query("model == 'copies'")
    assert not pairs["tied"].any()
    assert (pairs["difference_high"] < -0.8).all()


def test_a_known_dose_of_copies_gives_its_share(world) -> None:
    """One copy among four seeds makes one of the six pairs equal."""
    found = world.measurements.query("model == 'one copy'").set_index("metric")
    for name in ("overall", *ATTRIBUTES):
        value, se = found.loc[name, ["value", "se"]]
        assert abs(value - 5 / 6) < 5 * se + 0.01, name


def test_tables_hold_every_metric(world) -> None:
    assert isinstance(world.paired, pd.DataFrame)
    assert set(world.measurements["metric"]) == {"overall", *ATTRIBUTES}


def test_jackknife_by_hand() -> None:
    """Pairs 1, 0, 0 of three seeds: without seed 2 the mean is 1, without the others 0."""
    pairs = {(0, 1): 1.0, (0, 2): 0.0, (1, 2): 0.0}
    assert jackknife(pairs) == pytest.approx(9 * 2 / 3 * (2 / 3), rel=1e-12)
    assert math.isnan(jackknife({(0, 1): 1.0}))
    assert math.isnan(jackknife({}))


def test_jackknife_is_not_below_the_variance_over_new_seeds(rng) -> None:
    """Squared differences of four standard normals, a thousand times over."""
    sums, found = [], []
    for x in rng.normal(size=(1000, 4)):
        pairs = {(i, j): float((x[i] - x[j]) ** 2) for i in range(4) for j in range(i + 1, 4)}
        sums.append(sum(pairs.values()))
        found.append(jackknife(pairs))
    assert np.mean(found) > 0.9 * np.var(sums)
