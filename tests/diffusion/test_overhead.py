"""The harness against a bare loop, with tiny networks: equal samples, ratios, judgements."""

import json

import numpy as np
import pytest
import tiny_models

from rcm_bench.diffusion import families, loading, overhead
from rcm_bench.diffusion.overhead import Took
from rcm_bench.errors import UserError
from rcm_bench.media import picture_flags


@pytest.fixture
def tiny(monkeypatch):
    config = tiny_models.WAN_CONFIG | {"patch_size": [1, 2, 2]}
    monkeypatch.setitem(families.WAN.architectures, "1.3B", config)
    monkeypatch.setattr(loading, "VAE", {"base_dim": 3, "z_dim": 16, "num_res_blocks": 1})
    monkeypatch.setattr(overhead, "pick_device", lambda: "cpu")


def test_the_command(tiny, tmp_path):
    out = tmp_path / "overhead.json"
    overhead.main([
        "--out", str(out), "--suite", "throughput_cpu", "--samples", "1", "--rounds", "6",
        "--steps", "2",
    ])  # fmt: skip
    said = json.loads(out.read_text())
    assert said["rounds"] == 6 and said["samples_a_turn"] == 1 and said["equal_values"] == 1
    assert {name: len(rows) for name, rows in said["seconds"].items()} == {
        "bare": 6, "bare_writing": 6, "harness": 6,
    }  # fmt: skip
    for row in said["seconds"]["harness"]:
        assert 0 < row["made"] < row["whole"]
    for found in said["ratios"].values():
        assert found["low"] <= found["value"] <= found["high"]
        assert found["at_most_1_percent_more"] in ("pass", "fail", "inconclusive")


def test_a_bare_loop_that_makes_other_samples_measures_nothing(tiny, monkeypatch):
    prepared = overhead.small("throughput_cpu", "rcm", 1, 1)
    real = overhead.rf_times
    monkeypatch.setattr(overhead, "rf_times", lambda *given: (0.5, *real(*given)[1:]))
    with pytest.raises(RuntimeError, match=r"the bare loop made other samples: \d+\.\d% of"):
        overhead.measure(prepared, "cpu", 1, 1.0)


def test_ratios_are_paired_by_round():
    """A round that is slow for all changes nothing; a share of 3 % is seen."""
    bare = [1.0, 2.0, 1.5, 1.1, 1.2, 4.0, 1.3, 1.0]
    rounds = {
        "bare": [Took(b, b, b) for b in bare],
        "bare_writing": [Took(2 * b, 2 * b, b) for b in bare],
        "harness": [Took(1.03 * b, 2.002 * b, 0.5 * b) for b in bare],
    }
    found = overhead.ratios(rounds)
    assert found["sampling"]["value"] == pytest.approx(1.03)
    # 3 % of the median of the rounds, 1.25 s, of one sample each.
    assert found["sampling"]["seconds_a_sample_more"]["value"] == pytest.approx(0.03 * 1.25)
    assert [found[k]["at_most_1_percent_more"] for k in ("sampling", "whole", "cpu")] == [
        "fail", "pass", "pass",
    ]  # fmt: skip
    few = overhead.ratios({name: rows[:5] for name, rows in rounds.items()})
    assert few["sampling"]["low"] is None
    assert few["sampling"]["at_most_1_percent_more"] == "inconclusive"


@pytest.mark.parametrize("shape", [(5, 64, 80, 3), (64, 80, 3), (2, 8, 8, 3)])
def test_a_sample_is_flagged_by_all_of_its_pixels(shape):
    """Most samples are told by the first of them: a second of work at real size was spent."""
    plain = np.full(shape, 7, np.uint8)
    frozen = ["frozen"] if len(shape) == 4 else []
    assert picture_flags(plain) == ["one_colour", *frozen]
    last = plain.copy()
    last.reshape(-1)[-1] = 8
    assert picture_flags(last) == []
    if frozen:
        noise = np.random.default_rng().integers(0, 255, shape[1:], np.uint8)
        assert picture_flags(np.stack([noise] * shape[0])) == frozen


@pytest.mark.parametrize(("suite", "model", "said"), [
    ("throughput_wan", "student", "unknown model 'student'. Available: rcm, stock-teacher, t"),
    ("throughput_wan", "teacher", "expected kind 'wan' with a sampler of kind 'rcm', got 'wan' wi"),
])  # fmt: skip
def test_what_cannot_be_measured(suite, model, said):
    with pytest.raises(UserError) as caught:
        overhead.small(suite, model, 1, 1)
    assert said in str(caught.value)
