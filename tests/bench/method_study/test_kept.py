"""What was measured goes on counting without weights or samples, and only as long as it is true."""

import json

import numpy as np
import pytest

from rcm_bench.method_study import kept, results
from rcm_bench.method_study.measure import protocol
from rcm_bench.method_study.study import load_study
from rcm_bench.method_study.turns import RECORD
from rcm_bench.scorers.lab import Scorer
from rcm_bench.shipped import shipped
from rcm_bench.statistics import Clusters

SUITE = {
    "suite": "methods-measured",
    "models": {"teacher": {"weights": "t"}, "rcm-seed11": {"weights": "a"}},
    "steps": [1, 2],
    "reuse": ["elsewhere"],
}


def clusters(rng, n=6, components=2):
    return Clusters(
        numerator=rng.normal(size=(n, components)),
        denominator=rng.integers(0, 5, (n, components)).astype(float),
        strata=rng.integers(0, 3, n),
        within=rng.random((n, components)) if components == 2 else None,
        seeds=rng.random(n) if components == 1 else None,
    )


@pytest.fixture
def study(tmp_path):
    """A folder with two trained models and what was measured of them and the teacher."""
    rng = np.random.default_rng()
    for name in ("rcm-seed11", "scm-seed11"):
        (tmp_path / "trainings" / name).mkdir(parents=True)
        (tmp_path / "trainings" / name / RECORD).write_text(json.dumps({"steps": 8, "name": name}))
    models = ("teacher", "rcm-seed11", "rcm-seed11-equal-updates", "scm-seed11")
    measured = {
        (metric, model, steps): clusters(rng, components=1 + (metric == "detail.psnr"))
        for metric in ("geneval.overall", "detail.psnr")
        for model in models
        for steps in (1, 2)
    }
    kept.keep(tmp_path, protocol(SUITE), measured)
    return tmp_path, measured


def same(a, b):
    for field in ("numerator", "denominator", "strata", "within", "seeds"):
        x, y = getattr(a, field), getattr(b, field)
        if x is None or y is None:
            assert x is y
        else:
            np.testing.assert_array_equal(x, y)


def test_it_comes_back_in_every_bit(study):
    out, measured = study
    found = kept.kept(out, protocol(SUITE | {"reuse": [], "models": {"teacher": {"weights": "t"}}}))
    assert found.keys() == measured.keys()
    for cell, own in measured.items():
        same(found[cell], own)


def test_written_twice_it_is_the_same_file(study):
    out, measured = study
    before = (out / kept.FILE).read_bytes()
    kept.keep(out, protocol(SUITE), measured)
    assert (out / kept.FILE).read_bytes() == before


def test_nothing_is_kept_at_first(tmp_path):
    assert kept.kept(tmp_path, protocol(SUITE)) == {}


@pytest.mark.parametrize("change", ["trained again", "gone"])
def test_what_was_trained_again_is_measured_again(study, change):
    out, measured = study
    path = out / "trainings" / "rcm-seed11" / RECORD
    path.unlink() if change == "gone" else path.write_text(json.dumps({"steps": 9}))
    found = kept.kept(out, protocol(SUITE))
    assert found.keys() == {cell for cell in measured if not cell[1].startswith("rcm-seed11")}


@pytest.mark.parametrize(
    "other", [{"steps": [1, 4]}, {"models": {"teacher": {"weights": "another"}}}]
)
def test_another_protocol_is_refused(study, other):
    out, _ = study
    with pytest.raises(ValueError, match=f"{kept.FILE}: measured by another protocol"):
        kept.kept(out, protocol(SUITE | other))


def test_an_older_numpy_writes_the_same_arrays(study, monkeypatch):
    """Before 2.2 ``savez_compressed`` knew no option: every keyword became an array."""
    out, measured = study
    save = np.savez_compressed

    def older(file, **arrays):
        save(file, **{name: np.asarray(value) for name, value in arrays.items()})
        assert {name.count("/") for name in arrays} == {0, 3}
        assert [name for name in arrays if "/" not in name] == ["about"]

    monkeypatch.setattr(np, "savez_compressed", older)
    kept.keep(out, protocol(SUITE), measured)
    assert kept.kept(out, protocol(SUITE)).keys() == measured.keys()


def test_a_flipped_bit_anywhere_changes_nothing_or_is_refused(study):
    """The stream, the archive's tables, its flags: each breaks in a way of its own."""
    out, measured = study
    whole, rng = (out / kept.FILE).read_bytes(), np.random.default_rng()
    refused = 0
    for place in rng.integers(0, len(whole), 100):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        (out / kept.FILE).write_bytes(damaged)
        try:
            found = kept.kept(out, protocol(SUITE))
        except ValueError as fault:
            assert kept.FILE in str(fault)
            refused += 1
        else:
            assert found.keys() == measured.keys()
            for cell, own in measured.items():
                same(found[cell], own)
    assert refused > 0


def test_a_damaged_file_is_refused(study):
    out, _ = study
    data = (out / kept.FILE).read_bytes()
    (out / kept.FILE).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=f"{kept.FILE}: damaged"):
        kept.kept(out, protocol(SUITE))


@pytest.mark.parametrize("change", ["another reader of the images", "another teacher"])
def test_sums_are_of_this_teacher_and_these_scorers(tmp_path, monkeypatch, change):
    plan = load_study(shipped("suites") / "recipes" / "search" / "methods.yaml")
    before = results._protocol(plan, tmp_path)
    assert before == results._protocol(plan, tmp_path)
    if change == "another teacher":
        monkeypatch.setattr(results, "file_digest", lambda path: "another")
    else:
        monkeypatch.setattr(Scorer, "version", "another")
    assert before != results._protocol(plan, tmp_path)
