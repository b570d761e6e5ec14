"""GenEval's rules: from detected objects and a prompt's metadata to right or wrong, and why.

Clause by clause as the official evaluation script judges (Ghosh et al. 2023, "GenEval: An
Object-Focused Framework for Evaluating Text-to-Image Alignment"; options ``threshold``,
``counting_threshold``, ``max_objects``, ``position_threshold`` at their defaults; its non-maximum
suppression is off by default and left out). Only the detector is somebody else's: Mask2Former and
CLIP there, the shapes laboratory's oracle here, through the same function.

Scores and boxes are compared in the number format that they come in. Upstream's are float32, where
0.3 is a little more than in float64: a detector that is to agree on the very edge gives
``numpy.float32`` values.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rcm_bench.geneval_prompts import COLORS
from rcm_bench.types import Detection

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
THRESHOLD = 0.3
COUNTING_THRESHOLD = 0.9
MAX_OBJECTS = 16
POSITION_THRESHOLD = 0.1
_SMALLEST_OFFSET = 1e-3

Colours = Callable[[Sequence[Detection]], Sequence[str]]
"""Names the colour of each of some detections of one class."""
Objects = Mapping[str, Sequence[Detection]]


class Judgement(NamedTuple):
    """The verdict on one image.

    Attributes:
        correct: Whether every clause holds.
        reason: One line for each clause that fails, in the official wording; empty when correct.
        details: ``{class: [[x0, y0, x1, y1, score], ...]}`` of the detections that counted.
    """

    correct: bool
    reason: str
    details: dict[str, list[list[float]]]


class _Match(NamedTuple):
    """What an include clause found; ``found`` is None when the clause fails."""

    found: Sequence[Detection] | None
    reason: str | None


def kept(detections: Sequence[Detection], tag: str) -> dict[str, list[Detection]]:
    """Keep what counts: scores above the threshold, at most 16 of a class, best first.

    Args:
        detections: All detections of one image.
        tag: Task of the prompt; ``"counting"`` asks for scores above 0.9, all others above 0.3.
    """
    threshold = COUNTING_THRESHOLD if tag == "counting" else THRESHOLD
    groups: dict[str, list[Detection]] = {}
    for detection in detections:
        groups.setdefault(detection.name, []).append(detection)
    result = {}
    for name, group in groups.items():
        # Reversed ascending order, as upstream: of equal scores the later one comes first.
        scores = np.asarray([d.score for d in group])
        order = np.argsort(scores, kind="stable")[::-1]
        chosen = [group[i] for i in order[scores[order] > threshold][:MAX_OBJECTS]]
        if chosen:
            result[name] = chosen
    return result


def relations(a: Detection, b: Detection) -> tuple[str, ...]:
    """Say where a lies relative to b: none, one or two of the four relations.

    offset = centre_a - centre_b, shortened on each axis by 0.1 (size_a + size_b); a relation holds
    where the shortened offset over the length of the *whole* offset exceeds 0.5.
    """
    box_a, box_b = np.asarray(a.box), np.asarray(b.box)
    offset = (box_a[:2] + box_a[2:]) / 2 - (box_b[:2] + box_b[2:]) / 2
    sizes = np.abs(box_a[2:] - box_a[:2]) + np.abs(box_b[2:] - box_b[:2])
    shortened = np.maximum(np.abs(offset) - POSITION_THRESHOLD * sizes, 0) * np.sign(offset)
    if (np.abs(shortened) < _SMALLEST_OFFSET).all():
        return ()
    dx, dy = shortened / np.linalg.norm(offset)
    tests = {"left of": dx < -0.5, "right of": dx > 0.5, "above": dy < -0.5, "below": dy > 0.5}
    return tuple(name for name, holds in tests.items() if holds)


def _wrong_color(clause: Mapping[str, Any], found: Sequence[Detection], colours: Colours) -> str:
    """Return the reason why the found objects' colours fail the clause, or nothing."""
    wanted, names = clause["color"], list(colours(found))
    if names.count(wanted) >= clause["count"]:
        return ""
    census = ", ".join(f"{names.count(color)} {color}" for color in COLORS if color in names)
    return (
        f"expected {wanted} {clause['class']}>={clause['count']}, "
        f"found {names.count(wanted)} {wanted}; and {census}"
    )


def _wrong_position(
    clause: Mapping[str, Any], found: Sequence[Detection], groups: Sequence[_Match]
) -> str:
    """Return the reason why the first bad pair fails the clause, or nothing."""
    relation, target = clause["position"]
    others = groups[target].found
    if others is None:
        return f"no target for {clause['class']} to be {relation}"
    for one in found:
        for other in others:
            there = relations(one, other)
            if relation not in there:
                actual = " and ".join(there)
                return f"expected {clause['class']} {relation} target, found {actual} target"
    return ""


def _match(
    clause: Mapping[str, Any], objects: Objects, colours: Colours, groups: Sequence[_Match]
) -> _Match:
    """Judge one include clause; only the ``count`` most confident objects are looked at."""
    found = objects.get(clause["class"], ())[: clause["count"]]
    if len(found) < clause["count"]:
        few = f"expected {clause['class']}>={clause['count']}, found {len(found)}"
        return _Match(found=None, reason=few)
    reason = _wrong_color(clause, found, colours) if "color" in clause else ""
    if not reason and "position" in clause:
        reason = _wrong_position(clause, found, groups)
    return _Match(found=None, reason=reason) if reason else _Match(found=found, reason=None)


def coloured(
    detections: Sequence[Detection], metadata: Mapping[str, Any]
) -> list[tuple[str, Sequence[Detection]]]:
    """Return what `judge` will ask colours of: class and objects of each clause with a colour.

    A classifier may name them all at once, for many images, before they are judged.

    Args:
        detections: All detections of one image.
        metadata: The prompt's record.
    """
    objects = kept(detections, metadata["tag"])
    asked: list[tuple[str, Sequence[Detection]]] = []
    for clause in metadata.get("include", ()):
        found = objects.get(clause["class"], ())[: clause["count"]]
        if "color" in clause and len(found) >= clause["count"]:
            asked.append((clause["class"], found))
    return asked


def judge(
    detections: Sequence[Detection], metadata: Mapping[str, Any], colours: Colours
) -> Judgement:
    """Judge one image.

    Every clause of ``include`` must hold and none of ``exclude``; the clauses are independent, but
    a position clause fails when the clause it points to has failed. More objects than asked for are
    no fault unless ``exclude`` says so (counting does), and there the list is not cut to a count.

    Args:
        detections: All detections of the image, in any order.
        metadata: The prompt's record: ``tag``, ``include`` [{``class``, ``count``, ``color``?,
            ``position``?: [relation, index of an earlier clause]}], ``exclude``? [{``class``,
            ``count``}].
        colours: Names the colours of the found objects; called only for clauses with a colour.
    """
    objects = kept(detections, metadata["tag"])
    groups: list[_Match] = []
    for clause in metadata.get("include", ()):
        groups.append(_match(clause, objects, colours, groups))
    reasons = [group.reason for group in groups if group.reason is not None]
    for clause in metadata.get("exclude", ()):
        number = len(objects.get(clause["class"], ()))
        if number >= clause["count"]:
            reasons.append(f"expected {clause['class']}<{clause['count']}, found {number}")
    boxes = {
        name: [[*map(float, d.box), float(d.score)] for d in group]
        for name, group in objects.items()
    }
    return Judgement(correct=not reasons, reason="\n".join(reasons), details=boxes)
