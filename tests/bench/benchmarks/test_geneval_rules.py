"""GenEval's rules clause by clause, on detections made by hand."""

import pytest

from rcm_bench.geneval_rules import judge, kept, relations
from rcm_bench.types import Detection


def at(name, x=0.0, y=0.0, size=10.0, score=0.95):
    return Detection(name=name, score=score, box=(x, y, x + size, y + size))


def never(detections):
    raise AssertionError("colours must not be asked for")


def colours(table):
    """Name colours by the left edge of the box."""
    return lambda found: [table[d.box[0]] for d in found]


def record(tag, *include, exclude=()):
    keys = ("class", "count", "color", "position")
    clauses = [dict(zip(keys, c, strict=False)) for c in include]
    clauses = [{k: v for k, v in c.items() if v is not None} for c in clauses]
    found = {"tag": tag, "include": clauses}
    if exclude:
        found["exclude"] = [dict(zip(keys, c, strict=False)) for c in exclude]
    return found


SINGLE = record("single_object", ("star", 1))
TWO = record("two_object", ("star", 1), ("moon", 1))
THREE = record("counting", ("star", 3), exclude=[("star", 4)])
RED = record("colors", ("star", 1, "red"))
LEFT = record("position", ("moon", 1), ("star", 1, None, ["left of", 0]))


def test_found_object_is_right() -> None:
    verdict = judge([at("star", score=0.5)], SINGLE, never)
    assert verdict == (True, "", {"star": [[0.0, 0.0, 10.0, 10.0, 0.5]]})


@pytest.mark.parametrize("score", [0.3, 0.1])
def test_threshold_is_exclusive(score) -> None:
    verdict = judge([at("star", score=score)], SINGLE, never)
    assert verdict == (False, "expected star>=1, found 0", {})


def test_counting_asks_for_more_confidence() -> None:
    """0.9 does not count in a counting prompt, and would in any other."""
    three = [at("star", x=20 * i, score=s) for i, s in enumerate((0.95, 0.91, 0.9))]
    assert judge(three, THREE, never).reason == "expected star>=3, found 2"
    assert judge(three, record("two_object", ("star", 3)), never).correct


def test_counting_refuses_one_too_many_only() -> None:
    stars = [at("star", x=20 * i) for i in range(5)]
    assert judge(stars[:3], THREE, never).correct
    assert judge(stars, THREE, never).reason == "expected star<4, found 5"
    assert judge(stars, SINGLE, never).correct  # elsewhere more are no fault
    assert judge(stars[:2], THREE, never).reason == "expected star>=3, found 2"


def test_clauses_are_independent_and_all_reasons_are_given() -> None:
    assert judge([at("moon")], TWO, never).reason == "expected star>=1, found 0"
    both = judge([], TWO, never)
    assert both.reason == "expected star>=1, found 0\nexpected moon>=1, found 0"
    assert judge([at("moon"), at("star"), at("ring")], TWO, never).correct


def test_at_most_sixteen_of_a_class_best_first() -> None:
    many = [at("star", x=i, score=0.4 + i / 100) for i in range(20)]
    best = kept(many, "two_object")["star"]
    assert [d.box[0] for d in best] == list(range(19, 3, -1))
    crowd = record("two_object", ("star", 1), exclude=[("star", 17)])
    assert judge(many, crowd, never).correct  # the seventeenth is never seen


def test_equal_scores_come_in_upstreams_order() -> None:
    assert [d.box[0] for d in kept([at("star", 1), at("star", 2)], "colors")["star"]] == [2, 1]


def test_only_the_most_confident_are_looked_at_for_colour() -> None:
    found = [at("star", x=0, score=0.9), at("star", x=20, score=0.8)]
    assert judge(found, RED, colours({0: "red", 20: "blue"})).correct
    verdict = judge(found, RED, colours({0: "blue", 20: "red"}))
    assert verdict.reason == "expected red star>=1, found 0 red; and 1 blue"


def test_colours_are_counted_in_the_official_order() -> None:
    wanted = record("colors", ("star", 3, "red"))
    found = [at("star", x=x) for x in (0, 20, 40)]
    verdict = judge(found, wanted, colours({0: "white", 20: "red", 40: "orange"}))
    assert verdict.reason == "expected red star>=3, found 1 red; and 1 red, 1 orange, 1 white"


def test_colour_is_not_asked_for_what_is_missing() -> None:
    assert judge([], RED, never).reason == "expected star>=1, found 0"


def test_attribution_needs_both_colours() -> None:
    wanted = record("color_attr", ("star", 1, "red"), ("moon", 1, "blue"))
    found = [at("star", x=0), at("moon", x=20)]
    assert judge(found, wanted, colours({0: "red", 20: "blue"})).correct
    swapped = judge(found, wanted, colours({0: "blue", 20: "red"}))
    assert len(swapped.reason.splitlines()) == 2


def test_position_right_and_wrong() -> None:
    assert judge([at("star", x=0), at("moon", x=30)], LEFT, never).correct
    wrong = judge([at("star", x=30), at("moon", x=0)], LEFT, never)
    assert wrong.reason == "expected star left of target, found right of target"


def test_position_without_target_fails_for_both() -> None:
    verdict = judge([at("star")], LEFT, never)
    assert verdict.reason == "expected moon>=1, found 0\nno target for star to be left of"


def test_position_of_a_wrongly_coloured_target_has_no_target() -> None:
    wanted = record("position", ("moon", 1, "red"), ("star", 1, None, ["left of", 0]))
    verdict = judge([at("star", x=0), at("moon", x=30)], wanted, colours({30: "blue"}))
    assert verdict.reason.splitlines()[1] == "no target for star to be left of"


def test_position_looks_at_the_most_confident_pair_only() -> None:
    found = [at("star", x=0, score=0.9), at("star", x=60, score=0.8), at("moon", x=30)]
    assert judge(found, LEFT, never).correct


def test_every_pair_must_stand_right() -> None:
    wanted = record("position", ("moon", 2), ("star", 1, None, ["left of", 0]))
    found = [at("star", x=30), at("moon", x=60), at("moon", x=0, score=0.9)]
    assert judge(found, wanted, never).reason.startswith("expected star left of target")


def test_position_is_not_judged_when_the_colour_failed() -> None:
    wanted = record("position", ("moon", 1), ("star", 1, "red", ["left of", 0]))
    verdict = judge([at("star", x=60), at("moon", x=0)], wanted, colours({60: "blue"}))
    assert verdict.reason == "expected red star>=1, found 0 red; and 1 blue"


def test_relation_divides_by_the_unshortened_offset() -> None:
    """Offset (-4, 0) between boxes of 10 shortens to -2: -2 / 4 is not below -0.5.

    Divided by the shortened length it would be -1, and "left of" would hold.
    """
    assert relations(at("a", x=0), at("b", x=4)) == ()
    assert relations(at("a", x=0), at("b", x=4.2)) == ("left of",)


def test_relation_names_axes_and_both_on_the_diagonal() -> None:
    b = at("b", x=100, y=100)
    assert relations(at("a", x=0, y=100), b) == ("left of",)
    assert relations(at("a", x=200, y=100), b) == ("right of",)
    assert relations(at("a", x=100, y=0), b) == ("above",)
    assert relations(at("a", x=100, y=200), b) == ("below",)
    assert relations(at("a", x=0, y=0), b) == ("left of", "above")
    assert relations(b, b) == ()


def test_wrong_relation_names_what_was_found() -> None:
    diagonal = [at("star", x=200, y=200), at("moon", x=0, y=0)]
    reason = "expected star left of target, found right of and below target"
    assert judge(diagonal, LEFT, never).reason == reason
    same = [at("star"), at("moon")]
    assert judge(same, LEFT, never).reason == "expected star left of target, found  target"
