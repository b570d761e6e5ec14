"""FID against torchmetrics and its own gradient; both set distances by prompt in real runs."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_networks import tiny_clip
from tiny_suite import ENOUGH, SUITE

import rcm_bench
from rcm_bench.canonical import file_digest
from rcm_bench.errors import UserError
from rcm_bench.feature_measures import distance_of_sets
from rcm_bench.features.inception import Settings
from rcm_bench.statistics.frechet import contributions


def test_fid_by_hand():
    # Variances (with n - 1) 2 and 8, means 1 apart: 1 + (sqrt(8) - sqrt(2))^2 = 3.
    real, fake = np.array([[-1.0], [1.0]]), np.array([[-1.0], [3.0]])
    assert contributions(real, fake).mean() == pytest.approx(1 + (8**0.5 - 2**0.5) ** 2)
    same = np.random.default_rng().normal(size=(40, 3))
    assert contributions(same, same).mean() == pytest.approx(0, abs=1e-9)


def test_fid_is_torchmetrics():
    from torchmetrics.image.fid import _compute_fid

    rng = np.random.default_rng()
    real, fake = rng.normal(size=(200, 6)), rng.normal(size=(150, 6)) @ rng.normal(size=(6, 6))
    sides = [torch.tensor(each) for each in (real, fake)]
    moments = [m for each in sides for m in (each.mean(0), torch.cov(each.T))]
    theirs = float(_compute_fid(*moments))
    assert contributions(real, fake).mean() == pytest.approx(theirs, rel=1e-6)


def test_fid_contributions_tell_its_spread():
    rng = np.random.default_rng()
    real = rng.normal(size=(400, 3))

    def draw():
        return contributions(real, 1.4 * rng.normal(size=(300, 3)) + 0.5)

    found = [draw() for _ in range(300)]
    spread = np.std([each.mean() for each in found])
    said = np.mean([each.std(ddof=1) / np.sqrt(300) for each in found])
    assert said == pytest.approx(spread, rel=0.2)


def test_sets_are_summed_by_prompt(tmp_path):
    from test_feature_diversity import table

    rng = np.random.default_rng()
    real, fake = rng.normal(size=(2, 12, 3)).astype(np.float32)
    own = table(
        tmp_path,
        {
            ("teacher", "p0"): [*real[:6]],
            ("teacher", "p1"): [*real[6:]],
            ("student", "p0"): [*fake[:4], None],
            ("student", "p1"): [*fake[4:]],
        },
    )
    rows = distance_of_sets(own, contributions).rows
    whole = contributions(real.astype(float), fake.astype(float)).mean()
    assert rows["numerator"].sum() / rows["denominator"].sum() == pytest.approx(whole)
    assert rows["denominator"].tolist() == [4, 8] and rows["n_missing"].tolist() == [1, 0]
    assert distance_of_sets(own[~own["is_reference"]], contributions) is None


def test_a_run_with_cmmd(suite, tmp_path):
    given = tiny_clip(tmp_path / "clip", name="tiny-cmmd")
    spelled = ", ".join(f"{key}: '{value}'" for key, value in given.items())
    path = suite(SUITE.replace("{brightness: {}}", f"{{cmmd: {{clip: {{{spelled}}}}}}}"), ENOUGH)
    rows = rcm_bench.run(str(path), tmp_path / "out").measurements
    assert set(map(tuple, rows[["model", "steps"]].to_numpy())) == {
        *(("teacher", 1), ("student", 1), ("student", 2))
    }
    assert rows["value"].notna().all() and isinstance(rows, pd.DataFrame)


def test_inception_loads_plain_tensors_alone(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"fc.weight": Evil()}, tmp_path / "evil.pth")
    settings = Settings(
        weights=str(tmp_path / "evil.pth"), sha256=file_digest(tmp_path / "evil.pth")
    )
    pytest.importorskip("torch_fidelity")
    with pytest.raises(UserError, match="expected a file of plain tensors"):
        settings.load("benchmarks.fid.inception", "cpu")
