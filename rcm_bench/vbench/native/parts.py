"""What one video adds to a dimension, and how VBench takes videos together."""

from collections.abc import Iterable
from typing import NamedTuple


class Parts(NamedTuple):
    """A video's share of a dimension.

    VBench weights some dimensions by frames and others by videos. Both are one rule: sum the
    numerators, sum the denominators, divide. The denominator is a number of frames, or 1.

    Attributes:
        numerator: Sum over frames, or the video's own value.
        denominator: Number of summands, or 1.
    """

    numerator: float
    denominator: float

    @property
    def value(self) -> float:
        """The video's own value."""
        return self.numerator / self.denominator


def aggregate(videos: Iterable[Parts]) -> float:
    """Return a dimension's score over videos, as the package does in one process.

    Raises:
        ValueError: There are no videos; a score of nothing is missing, not zero.
    """
    listed = list(videos)
    if not listed:
        raise ValueError("expected at least one video, got none")
    return sum(v.numerator for v in listed) / sum(v.denominator for v in listed)
