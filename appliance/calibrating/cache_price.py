"""What a q8_0 KV cache costs, from a few chunks of a prompt and a few steps at its end. Pure.

The time of a token is a + b x depth: attention reads every cell, all else is the same at every depth. Both
caches are measured chunk by chunk, in turn; the lines through them are asked at the depth that the planner's
prices are for, because a board that prefills 100 tokens per second cannot get there within the minute. They
are believed to four times the depth that was measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from appliance.calibrating.values import CachePrices

DEPTH_TOKENS: Final = 3_500
"""Of `planner.prices`."""
LEAST_DEPTH_TOKENS: Final = DEPTH_TOKENS // 4
_LEAST_CHUNKS: Final = 4
_MOST_PRICE: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Of a prompt, or steps at its end."""

    start: int
    tokens: int
    seconds: float

    @property
    def depth(self) -> float:
        return self.start + self.tokens / 2

    @property
    def each_s(self) -> float:
        return self.seconds / self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Of one type of cache."""

    prefill: Sequence[Chunk]
    decode: Sequence[Chunk]
    """At the beginning and at the end."""


def cache_prices(plain: Measured, small: Measured) -> CachePrices | None:
    """None: too little was measured to say."""
    depth = min((_deepest(one) for one in (plain, small)), default=0)
    if depth < LEAST_DEPTH_TOKENS or min(len(plain.prefill), len(small.prefill)) < _LEAST_CHUNKS:
        return None
    if not plain.decode or not small.decode:
        return None
    # A prompt passes all depths from none to the whole.
    prefill = _at(small.prefill, DEPTH_TOKENS / 2) / _at(plain.prefill, DEPTH_TOKENS / 2)
    decode = _at(small.decode, DEPTH_TOKENS) / _at(plain.decode, DEPTH_TOKENS)
    return CachePrices(prefill=_price(prefill), decode=_price(decode), depth_tokens=depth)


def _deepest(measured: Measured) -> int:
    return max((chunk.start + chunk.tokens for chunk in measured.prefill), default=0)


def _price(ratio: float) -> float:
    """At least 1: a cache that is smaller and faster costs nothing."""
    return round(min(_MOST_PRICE, max(1.0, ratio)), 2)


def _at(chunks: Sequence[Chunk], depth: float) -> float:
    """Seconds of a token at a depth: the median line (Theil-Sen), which a few bad chunks do not turn. Time
    never falls with depth.
    """
    slopes = [
        (late.each_s - early.each_s) / (late.depth - early.depth)
        for index, early in enumerate(chunks)
        for late in chunks[index + 1 :]
        if late.depth != early.depth
    ]
    slope = max(0.0, statistics.median(slopes)) if slopes else 0.0
    base = statistics.median(chunk.each_s - slope * chunk.depth for chunk in chunks)
    return max(base, 0.0) + slope * depth or 1e-9
