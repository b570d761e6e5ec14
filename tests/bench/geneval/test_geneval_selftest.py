"""The self-test passes a sane detector and catches the known fault: confidences near zero."""

import hashlib

import numpy as np
import pytest

from rcm_bench import geneval_selftest
from rcm_bench.errors import UserError
from rcm_bench.geneval_selftest import (
    PERSON,
    PHOTO_SHA256,
    doctors_finding,
    photograph,
    self_test,
)
from rcm_bench.types import Detection


def detector(person=0.98, box=PERSON, name="person", grey=0.02, seen=None):
    """A detector of the photograph's person; `seen` notes what it was asked."""

    def detect(images, masks, threshold):
        assert images.shape == (1, 600, 512, 3) and threshold == 0.0 and masks == [()]
        plain = bool((images == images[0, 0, 0]).all())
        if seen is not None:
            seen.append(plain)
        if plain:
            return [[Detection("kite", grey, (0.0, 0.0, 9.0, 9.0))]]
        found = [Detection(name, person, box), Detection("tie", person / 2, (200.0, 400.0, 9, 9))]
        return [found]

    return detect


def test_a_sane_detector_passes():
    seen = []
    result = self_test(detector(seen=seen))
    assert result.passed and sorted(seen) == [False, True]
    assert str(result) == "person 0.980 on a portrait of one"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"person": 0.004}, r"person 0.004 .*expected above 0.7; the highest of anything is 0.004"),
        ({"name": "dog"}, r"person 0.000 .*the highest of anything is 0.980"),
        ({"box": (0.0, 0.0, 100.0, 100.0)}, "person 0.000"),
        ({"grey": 0.95}, "0.950 on plain grey"),
    ],
)
def test_planted_faults_are_caught(fault, said):
    import re

    result = self_test(detector(**fault))
    assert not result.passed and re.search(said, str(result))


def test_a_network_with_random_weights_is_caught():
    """The real detector, run for real: what is wrong with it is that nothing was ever learned."""
    from tiny_mask2former import tiny_model

    from rcm_bench.detectors.mask2former import Mask2Former

    result = self_test(Mask2Former(tiny_model(3, sharpness=0.1), "cpu"))
    assert not result.passed and 0 < result.best < 0.3


def test_the_photograph_is_the_one_that_was_looked_at():
    photo = photograph()
    assert photo.shape == (600, 512, 3) and photo.dtype == np.uint8
    digest = hashlib.sha256(geneval_selftest.Path(
        __import__("matplotlib").get_data_path(), "sample_data", "grace_hopper.jpg"
    ).read_bytes()).hexdigest()  # fmt: skip
    assert digest == PHOTO_SHA256


def test_without_the_photograph_nothing_is_said(monkeypatch):
    monkeypatch.setattr(geneval_selftest, "PHOTO", "absent.jpg")
    with pytest.raises(UserError, match="self-test needs matplotlib's absent.jpg"):
        self_test(detector())


def test_doctor_says_what_was_not_tested_and_what_is_wrong(monkeypatch, suite):
    monkeypatch.delenv("GENEVAL_SUITE", raising=False)
    assert doctors_finding()[:3] == ("GenEval detector", False, "not tested on this machine")
    monkeypatch.setenv("GENEVAL_SUITE", str(suite()))
    finding = doctors_finding()
    assert not finding.good and "has no benchmark 'geneval' with a Mask2Former" in finding.found
    monkeypatch.setenv("GENEVAL_SUITE", "bring_geneval_results")  # its detector is elsewhere
    assert "has no benchmark 'geneval' with a Mask2Former" in doctors_finding().found
    path = suite(**{"brightness: {}": "geneval: {detector: {kind: mask2former, weights: gone.pth, "
                    f"layout: mmdet, sha256: {'a' * 64}}}}}"})  # fmt: skip
    monkeypatch.setenv("GENEVAL_SUITE", str(path))
    assert "gone.pth: no such file" in doctors_finding().found
