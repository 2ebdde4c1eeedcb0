"""What loads on this board have taught: measured against planned, and plans corrected by it. Pure.

A plan is corrected upwards only. That a load took less than planned says little (its cells were not used, its
drafts were short); that it took more says that something on this board is not in our formulas: a driver, a
C library, larger pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from types import MappingProxyType
from typing import Final

import msgspec

FORMAT: Final = 1
_RECENT: Final = 8
"""Loads of a model that count; of more, the oldest are forgotten."""
_MOST_MODELS: Final = 256
_MOST_FACTOR: Final = 2.0
"""More is no property of a board but a leak, or a wrong reading; it is not planned with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    planned_bytes: int
    measured_bytes: int

    @property
    def ratio(self) -> float:
        return self.measured_bytes / self.planned_bytes


@dataclass(frozen=True, slots=True)
class Learned:
    """By board and model; those used last at the end."""

    observations: Mapping[str, tuple[Observation, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def with_load(self, *, board: str, model: str, planned_bytes: int, measured_bytes: int) -> Learned:
        """`planned_bytes` and `measured_bytes` are of the same moment: both at the peak, or both right after
        the load. What cannot be (nothing planned, nothing measured) teaches nothing.
        """
        if planned_bytes <= 0 or measured_bytes <= 0:
            return self
        key = _key(board, model)
        seen = Observation(planned_bytes=planned_bytes, measured_bytes=measured_bytes)
        others = {name: kept for name, kept in self.observations.items() if name != key}
        all_of_it = (*self.observations.get(key, ()), seen)[-_RECENT:]
        newest = dict(list({**others, key: all_of_it}.items())[-_MOST_MODELS:])
        return replace(self, observations=MappingProxyType(newest))

    def ratio(self, *, board: str, model: str) -> float | None:
        """Measured over planned, the highest of the last loads; None: there was none."""
        seen = self.observations.get(_key(board, model), ())
        return max((one.ratio for one in seen), default=None)

    def corrected_bytes(self, planned_bytes: int, *, board: str, model: str) -> int:
        """At least the plan; of a plan that was measured, at least what was measured."""
        ratio = self.ratio(board=board, model=model)
        factor = 1.0 if ratio is None else min(_MOST_FACTOR, max(1.0, ratio))
        return ceil(planned_bytes * factor)

    def encoded(self) -> bytes:
        pairs = {
            key: [[one.planned_bytes, one.measured_bytes] for one in seen]
            for key, seen in self.observations.items()
        }
        return msgspec.json.encode({"format": FORMAT, "loads": pairs})


class _Kept(msgspec.Struct, frozen=True):
    format: int
    loads: dict[str, list[tuple[int, int]]]


def decoded(raw: bytes) -> Learned:
    """What `encoded` wrote; of anything else nothing was learned."""
    try:
        kept = msgspec.json.decode(raw, type=_Kept)
    except msgspec.MsgspecError:
        return Learned()
    if kept.format != FORMAT:
        return Learned()
    learned = {
        key: tuple(
            Observation(planned_bytes=planned, measured_bytes=measured)
            for planned, measured in pairs[-_RECENT:]
            if planned > 0 and measured > 0
        )
        for key, pairs in list(kept.loads.items())[-_MOST_MODELS:]
    }
    return Learned(MappingProxyType(learned))


def _key(board: str, model: str) -> str:
    return f"{board}\n{model}"
