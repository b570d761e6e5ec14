"""The instrument's doses and tables; the report itself takes minutes and is committed."""

import numpy as np
import pandas as pd
import pytest

from rcm_bench.instrument.doses import NONE, Dose, damage_of, draw_images, expected
from rcm_bench.instrument.page import plot, readme, smallest_found
from rcm_bench.instrument.response import Row, false_alarms, respond
from rcm_distill.lab.grammar import prompt_set


@pytest.fixture(scope="module")
def prompts():
    return prompt_set(2, 5)


@pytest.fixture(scope="module")
def rows(prompts):
    doses = (Dose("wrong", 1.0), Dose("modes", 1.0), Dose("blur", 0.75), Dose("noise", 0.05))
    return respond(prompts, doses, 1, seed=7)


def found(rows, kind, metric):
    return next(r for r in rows if (r.kind, r.metric) == (kind, metric))


def test_every_metric_answers_to_its_own_fault(rows):
    assert found(rows, "wrong", "geneval.overall").value < 0.5
    assert found(rows, "modes", "diversity.overall").value == pytest.approx(0, abs=0.01)
    assert found(rows, "modes", "geneval.overall").difference == 0
    for kind in ("blur", "noise"):
        for metric in ("detail.psnr", "detail.sharpness"):
            row = found(rows, kind, metric)
            # The oracle fits the damaged image, which is closer than the scene that was drawn.
            assert row.value == pytest.approx(row.expected, rel=0.1)
    assert found(rows, "blur", "detail.sharpness").difference < -0.5
    assert found(rows, "noise", "detail.sharpness").difference > 1
    metrics = {row.metric for row in rows}
    assert {"geneval.counting", "diversity.color", "detail.psnr"} <= metrics
    assert len(rows) == 4 * len(metrics)


def test_doses_are_what_they_say(prompts):
    clean = draw_images(prompts, 3, NONE, 1)
    assert clean.shape == (len(prompts) * 3, 40, 40, 3)
    assert (draw_images(prompts, 3, NONE, 1) == clean).all()
    assert (draw_images(prompts, 3, NONE, 2) != clean).any()
    modes = draw_images(prompts, 3, Dose("modes", 1.0), 1).reshape(len(prompts), 3, -1)
    assert (modes == modes[:, :1]).all()
    again = draw_images(prompts, 3, Dose("modes", 1.0), 9).reshape(len(prompts), 3, -1)
    assert (again == modes).all(), "a generator's modes are its own"
    psnr, sharpness = damage_of(prompts, 3, Dose("noise", 0.02), 1)
    assert psnr == pytest.approx(-20 * np.log10(0.02), abs=0.5)
    assert sharpness > 1.1
    assert damage_of(prompts, 3, NONE, 1)[0] == pytest.approx(
        -20 * np.log10(1 / 255 / 12**0.5), abs=1
    )


@pytest.mark.parametrize(
    ("metric", "dose", "value"),
    [
        ("diversity.overall", Dose("modes", 0.25), 0.75),
        ("diversity.place", Dose("weight", 0.5), 0.75),
        ("diversity.overall", Dose("place", 0.5), 0.875),
        ("diversity.color", Dose("color", 0.5), None),
        ("diversity.overall", Dose("shrink", 0.5), None),
        ("diversity.size", Dose("shrink", 0.2), 0.8),
        ("diversity.overall", Dose("blur", 1.0), None),
        ("geneval.overall", Dose("wrong", 0.1), 0.9),
        ("geneval.overall", Dose("modes", 0.1), None),
        ("detail.psnr", Dose("blur", 1.0), 30.0),
        ("detail.sharpness", Dose("blur", 1.0), 0.1),
    ],
)
def test_what_is_expected(metric, dose, value):
    assert expected(metric, dose, (30.0, 0.1)) == (None if value is None else pytest.approx(value))


def row(dose, hits):
    return Row(
        kind="blur",
        dose=dose,
        metric="m",
        expected=float("nan"),
        value=0.0,
        reference=0.0,
        difference=0.0,
        half_width=0.0,
        found=hits,
        repetitions=4,
    )


def test_the_smallest_dose_found_has_no_miss_above_it():
    rows = [row(0.1, 4), row(0.2, 3), row(0.3, 4), row(0.4, 4)]
    assert smallest_found(rows, "m", "blur").dose == 0.3
    assert smallest_found([*rows, row(0.5, 3)], "m", "blur") is None
    assert smallest_found(rows, "m", "noise") is None


@pytest.mark.slow
def test_false_alarms_are_counted_by_the_code_of_a_run():
    table = false_alarms(prompt_set(4, 5), 2, seed=3)
    every = table[table["what"] == "every test"].iloc[0]
    assert every["tests"] % 2 == 0
    assert 0 <= every["alarms"] < every["tests"]
    assert {"detail.psnr", "diversity.overall"} <= set(table["what"])


def test_the_page_is_the_same_twice(rows):
    alarms = pd.DataFrame(
        [{"what": "x", "alarms": 1, "tests": 20, "rate": 0.05, "low": 0.0, "high": 0.2}]
    )
    pages = [readme(rows, alarms, prompts=12, made="a test") for _ in range(2)]
    assert pages[0] == pages[1]
    assert "| x | 1 | 20 | 5.0% | 0.0% to 20.0% |" in pages[0]


@pytest.mark.slow
def test_the_picture_is_the_same_twice(rows, tmp_path):
    for name in ("a.svg", "b.svg"):
        plot(rows, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
