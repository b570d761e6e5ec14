"""The four questions on sums per prompt whose truth is known."""

import numpy as np
import pytest

from rcm_bench.method_study.answers import DETAIL, answers
from rcm_bench.method_study.measure import METRICS, TEACHER, shared
from rcm_bench.method_study.progress import Verdict
from rcm_bench.statistics import Clusters

MEMBERS = {
    "rcm": ["rcm-seed1", "rcm-seed2", "rcm-seed3"],
    "scm": ["scm-seed1", "scm-seed2", "scm-seed3"],
    "dmd2": ["dmd2-seed1", "dmd2-seed2", "dmd2-seed3"],
    "dcm": ["dcm-seed1"],
}
YES = Verdict(True, 0.0, "converged")


def clusters(rng, mean, n=60):
    values = mean + 0.05 * rng.normal(size=(n, 1))
    return Clusters(
        numerator=values, denominator=np.ones((n, 1)), strata=np.zeros(n, dtype=np.int64)
    )


@pytest.fixture
def measured():
    """sCM has less detail, DMD2 less diversity; everything else is equal."""
    rng = np.random.default_rng()
    found = {}
    for metric in METRICS:
        found[metric, TEACHER, 16] = clusters(rng, 1.0)
        for method, names in MEMBERS.items():
            worse = (method == "scm" and metric in DETAIL) or (
                method == "dmd2" and metric == "diversity.overall"
            )
            for name in names:
                found[metric, name, 4] = clusters(rng, 0.5 if worse else 1.0)
    return found


def test_the_questions_are_answered(measured):
    found = answers(measured, MEMBERS, dict.fromkeys(MEMBERS, YES), steps=(4,), teacher_steps=16)
    says = {(a.question, a.metric, a.other): a.verdict for a in found}
    assert says[0, "detail.psnr", "rcm"] == says[0, "detail.sharpness", "rcm"] == "lower"
    assert says[1, "diversity.overall", "rcm"] == says[1, "diversity.overall", TEACHER] == "lower"
    assert says[2, "diversity.overall", "dmd2"] == says[2, "detail.psnr", "scm"] == "higher"
    assert len(found) == 2 + 2 + 4 * 3
    for each in found:
        against_teacher = each.other == TEACHER
        assert each.found.scope == "new prompts and new training seeds"
        assert not against_teacher or each.found.reference == pytest.approx(1.0, abs=0.05)
    shared_test = [
        a.p_holm
        for a in found
        if {a.first, a.other} == {"rcm", "dmd2"} and a.metric == "diversity.overall"
    ]
    assert len(shared_test) == 2
    assert shared_test[0] == shared_test[1], "a comparison that two questions share is one test"


def test_an_unconverged_method_is_shown_and_not_ranked(measured):
    verdicts = {**dict.fromkeys(MEMBERS, YES), "scm": Verdict(False, 0.1, "unconverged")}
    found = answers(measured, MEMBERS, verdicts, steps=(4,), teacher_steps=16)
    own = [a for a in found if "scm" in (a.first, a.other)]
    assert own
    assert all(a.verdict == "not ranked" and np.isnan(a.p_holm) for a in own)
    assert all(np.isfinite(a.found.difference) for a in own)


def test_one_training_seed_is_not_judged(measured):
    members = {**MEMBERS, "dmd2": MEMBERS["dmd2"][:1]}
    found = answers(measured, members, dict.fromkeys(MEMBERS, YES), steps=(4,), teacher_steps=16)
    own = [a for a in found if "dmd2" in (a.first, a.other)]
    assert {a.found.scope for a in own} == {"new prompts, these checkpoints"}
    assert {a.verdict for a in own} == {"not told"}


def test_prompts_that_a_student_lacks_are_left_out_of_all():
    tables = [
        Clusters(
            numerator=np.array([[1.0, 2.0], [3.0, 0.0], [5.0, 6.0]]),
            denominator=np.array(denominator, dtype=np.float64),
            strata=np.zeros(3, dtype=np.int64),
        )
        for denominator in (
            [[1, 1], [1, 0], [1, 1]],
            [[1, 1], [1, 0], [1, 0]],
            [[1, 1], [0, 0], [1, 1]],
        )
    ]
    kept, dropped = shared(tables)
    assert dropped == 2, "one prompt, and one component of another"
    for table in kept:
        assert table.denominator.tolist() == [[1, 1], [1, 0]]
        assert table.numerator.tolist() == [[1, 2], [5, 0]]
