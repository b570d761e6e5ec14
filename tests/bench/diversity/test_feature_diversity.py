"""The benchmark in real runs of a tiny suite, and its sums by hand."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from tiny_suite import ENOUGH, SUITE

import rcm_bench
from rcm_bench.benchmarks.feature_diversity import Benchmark
from rcm_bench.canonical import bytes_digest
from rcm_bench.errors import UserError
from rcm_bench.feature_files import encode_features, read_features
from rcm_bench.feature_measures import between_sets, pairwise, vendi_scores
from rcm_bench.features.pixels import Settings as PixelSettings
from rcm_bench.finish import open_run
from rcm_bench.statistics.coverage import prdc

PIXELS = SUITE.replace("{brightness: {}}", "{feature_diversity: {pixels: {size: 2}}}")


def stored(folder, features):
    data = encode_features(np.asarray(features))
    path = folder / f"{bytes_digest(data)}.npy"
    path.write_bytes(data)
    return str(path)


def table(folder, cells):
    """Samples with features; cells are {(model, prompt): [vector or None, ...]}."""
    return pd.DataFrame(
        [
            {
                "model": model,
                "sampler": "s",
                "steps": 1,
                "prompt_id": prompt,
                "task": "t",
                "seed_index": k,
                "is_reference": model == "teacher",
                "features": None if vector is None else stored(folder, vector),
            }
            for (model, prompt), vectors in cells.items()
            for k, vector in enumerate(vectors)
        ]
    )


def test_pairwise_and_vendi_by_hand(tmp_path):
    own = table(
        tmp_path,
        {
            ("teacher", "p0"): [[1, 0], [0, 1], [-1, 0]],
            ("teacher", "p1"): [[2, 0], [2, 0], None],
            ("teacher", "p2"): [[1, 1], None, None],
        },
    )
    rows = pairwise(own, "cosine").rows.set_index("prompt_id")
    assert rows["numerator"].tolist() == pytest.approx([1 + 2 + 1, 0, 0])
    assert rows["denominator"].tolist() == [3, 1, 0]
    assert rows["n_samples"].tolist() == [3, 2, 1]
    assert rows["n_missing"].tolist() == [0, 1, 2]
    squared = pairwise(own, "squared").rows
    assert squared["numerator"].tolist() == pytest.approx([2 + 4 + 2, 0, 0])
    # K / 3 of (1, 0), (0, 1), (-1, 0) has eigenvalues 2/3 and 1/3.
    rows = vendi_scores(own).rows.set_index("prompt_id")
    expected = np.exp(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)))
    assert rows.loc["p0", "numerator"] == pytest.approx(expected)
    # Of a prompt that lacks a sample there is no Vendi score, and all its samples are missing.
    assert rows["denominator"].tolist() == [1, 0, 0]
    assert rows["n_missing"].tolist() == [0, 3, 3]


def test_coverage_stands_with_what_it_is_without_each_prompt(tmp_path):
    rng = np.random.default_rng()
    real, fake = rng.normal(size=(2, 12, 3)).astype(np.float32)
    own = table(
        tmp_path,
        {
            ("teacher", "p0"): [*real[:5]],
            ("teacher", "p1"): [*real[5:9], None],
            ("teacher", "p2"): [*real[9:]],
            ("student", "p0"): [*fake[:4], None],
            ("student", "p1"): [*fake[4:8]],
            ("student", "p2"): [*fake[8:]],
        },
    )
    found = between_sets(own, 2)
    sides = {"real": np.repeat([0, 1, 2], [5, 4, 3]), "fake": np.repeat([0, 1, 2], 4)}
    real, fake = real.astype(float), fake.astype(float)
    expected = prdc(real, fake, 2)
    left = [prdc(real[sides["real"] != i], fake[sides["fake"] != i], 2) for i in range(3)]
    for name in expected._fields:
        rows = found[name].rows
        assert rows["model"].tolist() == ["student"] * 3
        side = sides["real" if name in ("recall", "coverage") else "fake"]
        assert rows["denominator"].tolist() == np.bincount(side).tolist()
        value = getattr(expected, name).mean()
        rests = (rows["numerator"] - value * rows["denominator"]) / 12
        without = np.array([getattr(each, name).mean() for each in left])
        np.testing.assert_allclose(rests, 2 / 3 * (without.mean() - without), atol=1e-12)
        assert rows["numerator"].sum() / 12 == pytest.approx(value)
    assert found["coverage"].rows["n_missing"].tolist() == [0, 1, 0]
    assert found["precision"].rows["n_missing"].tolist() == [1, 0, 0]
    assert between_sets(own, 7) == {}  # without p0 the teacher has 7


@pytest.fixture
def run(runs, tmp_path):
    """A finished run with pixel features that a test may change."""
    return shutil.copytree(runs(PIXELS), tmp_path / "run")


def test_a_run_has_ratios_to_the_teacher_with_intervals(run):
    paired = pd.read_csv(run / "tables" / "paired.csv")
    own = paired[paired["benchmark"] == "feature_diversity"].set_index(["metric", "model", "steps"])
    row = own.loc["pixels_pairwise", "student", 2]
    # The student's noise is 0.9 of the teacher's, so its squared distances are 0.81.
    assert row["ratio_low"] < 0.81 < row["ratio_high"] and row["ratio_high"] < 1.2
    assert row["n_prompts"] == 24 and row["n_missing"] == 0
    measured = pd.read_csv(run / "tables" / "measurements.csv")
    measured = measured.set_index(["metric", "model", "steps"])
    coverage = measured.loc["pixels_coverage", "student", 2]
    assert coverage["low"] < coverage["value"] < coverage["high"]
    assert ("pixels_coverage", "teacher", 4) not in measured.index
    assert ("pixels_coverage", "teacher", 1) in measured.index


def test_records_and_page_stay_small_and_hold_no_path(run):
    records = "".join(path.read_text() for path in (run / "records").glob("*.jsonl"))
    scores = [json.loads(line) for line in records.splitlines() if '"kind":"score"' in line]
    assert {tuple(made["details"]) for row in scores for made in row["scores"]} == {("features",)}
    assert str(run.parent) not in records
    assert not any(str(run.parent) in path.read_text() for path in (run / "tables").glob("*.csv"))


def test_the_same_tables_without_scoring_again(run, monkeypatch):
    before = (run / "tables" / "measurements.csv").read_bytes()
    moved = run.rename(run.with_name("moved"))  # features are found wherever the run lies
    monkeypatch.setattr(
        "rcm_bench.scorers.features.Scorer.__call__", lambda *_: pytest.fail("scored again")
    )
    rcm_bench.score(str(moved))
    assert (moved / "tables" / "measurements.csv").read_bytes() == before


def test_lost_features_are_scored_again(run):
    before = (run / "tables" / "measurements.csv").read_bytes()
    lost = sorted((run / "blobs").glob("*/*.npy"))[:3]
    for path in lost:
        path.unlink()
    index = open_run(run).store.index()
    assert sum("features of a sample are missing" in fault for fault in index.faults) >= 3
    rcm_bench.score(str(run))
    assert all(path.exists() for path in lost)
    assert (run / "tables" / "measurements.csv").read_bytes() == before


def test_damaged_features_are_named(run):
    path = sorted((run / "blobs").glob("*/*.npy"))[0]
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(UserError, match=f"{path.name}: features do not match their digest"):
        rcm_bench.report(str(run))
    path.unlink()
    rcm_bench.score(str(run))


def test_features_of_two_lengths_are_refused(tmp_path):
    with pytest.raises(UserError, match="expected 2 features, got 3"):
        read_features([stored(tmp_path, [1, 2]), stored(tmp_path, [1, 2, 3])])
    with pytest.raises(ValueError, match="finite vector"):
        encode_features(np.array([1, np.nan]))


def test_a_suite_must_name_features(suite):
    path = suite(SUITE.replace("{brightness: {}}", "{feature_diversity: {}}"), ENOUGH)
    with pytest.raises(UserError, match="expected features to compare by: dino, clip, lpips"):
        rcm_bench.plan(str(path))


def test_missing_weights_are_found_before_sampling(suite, tmp_path):
    dino = f"{{dino: {{weights: nowhere, sha256: {'a' * 64}, config_sha256: {'a' * 64}}}}}"
    path = suite(SUITE.replace("{brightness: {}}", f"{{feature_diversity: {dino}}}"), ENOUGH)
    with pytest.raises(UserError, match="feature_diversity.dino.weights: .*: no such file"):
        rcm_bench.run(str(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_metrics_are_those_of_the_features_asked_for():
    metrics = Benchmark(pixels=PixelSettings()).metrics
    assert [name for name, info in metrics.items() if info.headline] == ["pixels_pairwise"]
    assert "pixels_vendi" not in metrics  # cosines of pixels say nothing
