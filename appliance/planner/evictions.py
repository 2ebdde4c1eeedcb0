"""Which idle models go to make room: a pure decision.

The regret of an eviction is the time to load the model again over the time it has been idle: what has not
been asked for in long is not likely to be asked for soon, and what loads quickly is missed least. Those go
whose regrets are least in sum; of equals, the fewest, then the smallest. So nobody goes needlessly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final, NamedTuple

from msgspec import Struct

_MOST_EXACT: Final = 12
"""Idle models of which every subset is looked at; of more, one by one."""


class Resident(Struct, frozen=True, kw_only=True):
    """A model in memory."""

    model: str
    bytes: int
    """What its end gives back to the board's memory."""
    is_busy: bool = False
    """A request runs on it or is promised to it: it is never evicted."""
    is_pinned: bool = False
    """By the operator: never evicted."""
    idle_s: float = 0.0
    reload_s: float = 1.0
    device_bytes: int = 0
    """What its end gives back beside them, where the GPU has memory of its own."""

    @property
    def is_idle(self) -> bool:
        return not self.is_busy and not self.is_pinned

    @property
    def regret(self) -> float:
        """A second on either side: also who loads in no time loses its prefixes."""
        return (max(0.0, self.reload_s) + 1.0) / (max(0.0, self.idle_s) + 1.0)


class Room(NamedTuple):
    """Bytes of the board's memory, and of the GPU's where it has its own."""

    host_bytes: int
    device_bytes: int = 0

    def covers(self, other: Room) -> bool:
        return self.host_bytes >= other.host_bytes and self.device_bytes >= other.device_bytes

    def plus(self, residents: Sequence[Resident]) -> Room:
        return Room(
            self.host_bytes + sum(one.bytes for one in residents),
            self.device_bytes + sum(one.device_bytes for one in residents),
        )


def victims(candidates: Sequence[Resident], *, room: Room, need: Room) -> tuple[str, ...] | None:
    """Names of those that go so that `room` becomes `need`, sorted; None: not even all of them suffice."""
    if room.covers(need):
        return ()
    ordered = sorted(candidates, key=lambda one: one.model)
    if not room.plus(ordered).covers(need):
        return None
    search = _best if len(ordered) <= _MOST_EXACT else _one_by_one
    return tuple(sorted(one.model for one in search(ordered, room, need)))


def _best(ordered: Sequence[Resident], room: Room, need: Room) -> Sequence[Resident]:
    enough = [
        chosen
        for count in range(1, len(ordered) + 1)
        for chosen in combinations(ordered, count)
        if room.plus(chosen).covers(need)
    ]
    return min(enough, key=lambda chosen: (sum(one.regret for one in chosen), len(chosen), _bytes(chosen)))


def _one_by_one(ordered: Sequence[Resident], room: Room, need: Room) -> Sequence[Resident]:
    """Least regret first until it is enough; then the dearest that turn out not to be needed stay."""
    taken: list[Resident] = []
    for one in sorted(ordered, key=lambda each: each.regret):
        if room.plus(taken).covers(need):
            break
        taken.append(one)
    for one in sorted(taken, key=lambda each: -each.regret):
        fewer = [other for other in taken if other is not one]
        if room.plus(fewer).covers(need):
            taken = fewer
    return taken


def _bytes(chosen: Sequence[Resident]) -> int:
    return sum(one.bytes + one.device_bytes for one in chosen)
