"""Scores as they were read from a results file."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Taken(NamedTuple):
    """What a results file holds.

    Attributes:
        scores: {metric: {value, reason, details}} by prompt id and number, from 0.
        faults: What is wrong, a line each.
        remarks: What a reader should know of the file.
    """

    scores: Mapping[tuple[str, int], Mapping[str, Mapping[str, Any]]]
    faults: Sequence[str]
    remarks: Sequence[str] = ()
