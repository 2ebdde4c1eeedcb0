"""Is a model as fast as it usually is under this placement? Pure: observations in, one event when it changes.

A board may lose most of its speed without a fault that anybody tells: a driver that fell back, a clock that
stays low, another program, memory that swaps. So each model is compared with itself, at a like number of
sequences and a like depth of context (each in buckets of powers of two), since both cost.

1. Paced for heat: neither learned from nor judged; that it is slow then is meant.
2. Not enough healthy observations in its bucket yet: learned from, not judged.
3. Below half of the usual: slow. Three in a row: degraded.
4. Three in a row at 0.6 of the usual or more: no longer.
5. What is near the usual or above is learned from; what is not, is not, or a slow decline would become usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from types import MappingProxyType
from typing import Final

LEARNED: Final = 5
"""Observations in a bucket before it is judged by."""
SLOW: Final = 0.5
WELL: Final = 0.6
IN_A_ROW: Final = 3
_LEARNS_FROM: Final = 0.8
_WEIGHT_UP: Final = 0.1
_WEIGHT_DOWN: Final = 0.01
"""A decline that is faster than 0.2 % a request is told in the end; a slower one becomes usual."""
_LEAST_DEPTH: Final = 512
_MOST_BUCKETS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One request that ended."""

    batch: float
    """Sequences that were decoded together, on average."""
    depth_tokens: int
    """Prompt and answer."""
    steps_per_s: float
    """While nothing but tokens was computed: tokens per second of one sequence, without those guessed."""
    is_paced: bool = False
    """Heat asked for pauses meanwhile."""


Bucket = tuple[int, int]
"""Powers of two: of the batch, and of the depth."""
Usual = Mapping[Bucket, float]
"""Steps per second, where they are known."""


class Change(StrEnum):
    DEGRADED = "degraded"
    RECOVERED = "recovered"


@dataclass(slots=True)
class _Bucket:
    first: list[float] = field(default_factory=list)
    usual: float | None = None

    def learn(self, rate: float) -> None:
        if self.usual is not None:
            self.usual += (_WEIGHT_UP if rate > self.usual else _WEIGHT_DOWN) * (rate - self.usual)
            return
        self.first.append(rate)
        if len(self.first) >= LEARNED:
            self.usual = median(self.first)


class Baseline:
    """Of one model under one placement. Owned by whoever made it."""

    def __init__(self, known: Usual = MappingProxyType({})) -> None:
        """`known`: what was usual before."""
        self.is_degraded = False
        self.reason: str | None = None
        """With the figures of the last slow request; None: it is as fast as usual, as far as is known."""
        kept = list(known.items())[:_MOST_BUCKETS]
        self._buckets = {key: _Bucket(usual=rate) for key, rate in kept}
        self._slow = 0
        self._well = 0

    def known(self) -> Usual:
        """By bucket; those that are not known yet are left out."""
        return {key: bucket.usual for key, bucket in self._buckets.items() if bucket.usual is not None}

    def usual(self, observation: Observation) -> float | None:
        """Steps per second that are usual there; None: not known yet."""
        bucket = self._buckets.get(_key(observation))
        return None if bucket is None else bucket.usual

    def observe(self, seen: Observation) -> Change | None:
        """None: nothing has changed."""
        if seen.is_paced or not seen.steps_per_s > 0:  # 1
            return None
        key = _key(seen)
        if key not in self._buckets and len(self._buckets) >= _MOST_BUCKETS:
            return None
        bucket = self._buckets.setdefault(key, _Bucket())
        if bucket.usual is None:  # 2
            bucket.learn(seen.steps_per_s)
            return None
        share = seen.steps_per_s / bucket.usual
        change = self._judge(share, seen, bucket.usual)
        if share >= _LEARNS_FROM:  # 5
            bucket.learn(seen.steps_per_s)
        return change

    def _judge(self, share: float, seen: Observation, usual: float) -> Change | None:
        self._slow = self._slow + 1 if share < SLOW else 0
        self._well = self._well + 1 if share >= WELL else 0
        if self._slow >= IN_A_ROW:  # 3
            self.reason = (
                f"decodes {seen.steps_per_s:.1f} tokens/s per sequence, {share:.0%} of its usual {usual:.1f}"
            )
            if not self.is_degraded:
                self.is_degraded = True
                return Change.DEGRADED
        elif self.is_degraded and self._well >= IN_A_ROW:  # 4
            self.is_degraded, self.reason = False, None
            return Change.RECOVERED
        return None


def _key(seen: Observation) -> Bucket:
    """Depths below `_LEAST_DEPTH` are alike."""
    return round(max(1.0, seen.batch)).bit_length(), max(seen.depth_tokens, _LEAST_DEPTH).bit_length()
