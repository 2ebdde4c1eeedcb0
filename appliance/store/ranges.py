"""Which ranges of a file are there: a sorted list of half-open ranges that do not touch. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable


class Ranges:
    """Owned by whoever made it; not thread-safe."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    @property
    def total(self) -> int:
        return sum(self._ends) - sum(self._starts)

    def as_list(self) -> list[tuple[int, int]]:
        return list(zip(self._starts, self._ends, strict=True))

    def add(self, start: int, end: int) -> None:
        """Joined with what it overlaps or touches."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def remove(self, start: int, end: int) -> None:
        if start >= end:
            return
        kept = [
            part
            for low, high in self.as_list()
            for part in ((low, min(high, start)), (max(low, end), high))
            if part[0] < part[1]
        ]
        self._starts = [low for low, _ in kept]
        self._ends = [high for _, high in kept]

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """What is not there of [start, end)."""
        gaps = []
        at = start
        for index in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[index] >= end:
                break
            if self._starts[index] > at:
                gaps.append((at, self._starts[index]))
            at = max(at, self._ends[index])
        if at < end:
            gaps.append((at, end))
        return gaps

    def end_of(self, position: int) -> int:
        """How far it goes without a gap from `position`; `position` itself when that is not there."""
        index = bisect_right(self._starts, position) - 1
        return max(position, self._ends[index]) if index >= 0 else position
