"""FID against torchmetrics and its own gradient; both set distances by prompt in real runs."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_networks import tiny_clip
from tiny_suite import ENOUGH, SUITE

import rcm_bench
from rcm_bench.canonical import digest_of, file_digest
from rcm_bench.errors import UserError
from rcm_bench.feature_measures import distance_of_sets
from rcm_bench.features.clip import Settings as ClipSettings
from rcm_bench.features.inception import Settings
from rcm_bench.features.real_images import RealFeatures, RealImages
from rcm_bench.finish import open_run
from rcm_bench.media import decode
from rcm_bench.statistics.discrepancy import contributions as mmd_contributions
from rcm_bench.statistics.frechet import contributions
from rcm_bench.tables import run_tables


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


def real_images(folder, number=6):
    """Images of several sizes and formats, and the digest that a suite names them by."""
    folder.mkdir()
    rng = np.random.default_rng()
    for i in range(number):
        pixels = rng.integers(0, 256, (20 + i, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.{'png' if i % 2 else 'jpg'}")
    digest = digest_of(sorted(file_digest(path) for path in folder.iterdir()))
    return {"folder": str(folder), "sha256": digest}


def test_a_run_with_cmmd_to_the_teacher_and_to_real_images(suite, tmp_path):
    given, real = tiny_clip(tmp_path / "clip", name="tiny-cmmd"), real_images(tmp_path / "real")
    spelled = json.dumps({"cmmd": {"clip": given, "real": real}})
    path = suite(SUITE.replace("{brightness: {}}", spelled), ENOUGH)
    rows = rcm_bench.run(str(path), tmp_path / "out").measurements
    found = {metric: own.set_index(["model", "steps"])["value"]
             for metric, own in rows.groupby("metric")}  # fmt: skip
    students = {("student", 1), ("student", 2)}
    assert set(found["real_distance"].index) == {("teacher", 1), ("teacher", 4), *students}
    assert set(found["distance"].index) == {("teacher", 1), *students}
    assert found["real_distance"].notna().all() and found["distance"].notna().all()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert real["sha256"] in json.dumps(manifest["protocol"])
    # Again by hand: the teacher's samples and the images through the network itself.
    run = open_run(tmp_path / "out")
    samples = run_tables(run.plan, run.store.index(), run.benchmarks).samples
    teacher = samples.query("model == 'teacher' and steps == 4")["blob"]
    network = ClipSettings(**given).load("", "cpu")
    real_set, fake_set = (
        np.stack([network(decode(image)[None])[0] for image in images]).astype(np.float64)
        for images in ((tmp_path / "real").iterdir(), (run.store.root / name for name in teacher))
    )
    by_hand = mmd_contributions(real_set, fake_set).mean()
    assert found["real_distance"]["teacher", 4] == pytest.approx(by_hand, rel=1e-3)


def test_real_images_that_are_not_the_named_ones_are_refused(tmp_path):
    real = real_images(tmp_path / "real")
    assert len(RealImages(**real).verified("x.real")) == 6
    other = "0" * 64
    with pytest.raises(UserError, match=rf"x.real.sha256: .*expected {other}, its 6 images have "
                                        f"{real['sha256']}"):  # fmt: skip
        RealImages(folder=real["folder"], sha256=other).verified("x.real")
    (tmp_path / "real" / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"notes.txt: expected images alone \(.png, .jpg, .jpeg\)"):
        RealImages(**real).check("x.real")
    with pytest.raises(UserError, match="x.real.folder: .*gone: cannot be read"):
        RealImages(folder=str(tmp_path / "gone"), sha256=other).check("x.real")
    (tmp_path / "one").mkdir()
    with pytest.raises(UserError, match="expected at least 2 images, got 0"):
        RealImages(folder=str(tmp_path / "one"), sha256=other).check("x.real")


def test_a_real_image_that_is_cut_off_is_named(tmp_path):
    given, real = tiny_clip(tmp_path / "clip", name="tiny-cut"), real_images(tmp_path / "real")
    hurt = tmp_path / "real" / "3.png"
    hurt.write_bytes(hurt.read_bytes()[:200])
    digest = digest_of(sorted(file_digest(path) for path in hurt.parent.iterdir()))
    features = RealFeatures(images=RealImages(folder=real["folder"], sha256=digest),
                            features=ClipSettings(**given), where="x.real")  # fmt: skip
    with pytest.raises(UserError, match=r"x.real: .*3.png: not a whole image"):
        features.load("x.clip", "cpu")


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
