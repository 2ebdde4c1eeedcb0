"""Counts of a quantity by ranges, as Prometheus has them: cheap enough for every token."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

Bounds = tuple[float, ...]

SECONDS: Final[Bounds] = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
"""Of a request: from a cached prompt on a GPU to a long one on a small board, which takes minutes."""
TOKEN_SECONDS: Final[Bounds] = (
    *(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0),
)
"""Of one token: 200 a second to one in five seconds. People read about 5 a second."""


class Histogram:
    """Not locked: owned by one thread, or guarded by its owner's lock."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Bounds) -> None:
        """`bounds` ascend; each includes its value (`le`)."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By range, not added up; the last is what lies beyond all bounds."""
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def add(self, other: Histogram) -> None:
        """What another of the same bounds has counted."""
        for place, count in enumerate(other.counts):
            self.counts[place] += count
        self.sum += other.sum
