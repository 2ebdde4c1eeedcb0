"""Which rung is taken, and who goes for it: a pure decision; whoever asks does what it says.

1. The first rung of the ladder that fits, where need be with idle models evicted: a better rung comes before
   keeping who is idle. Busy and pinned models stay.
2. More slots than the comfortable number are taken only where they cost nobody anything: the rung fits
   without an eviction and into a share of what is free, so that a second model still has room.
3. No rung fits, but one would if busy models ended: wait for them.
4. Else `InsufficientMemory`, with the numbers and what to change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from appliance.errors import InsufficientMemory
from appliance.planner.evictions import Resident, Room, victims
from appliance.planner.facts import Ladder, Rung

PARALLEL_SHARE: Final = 0.5


class Chosen(Struct, frozen=True, kw_only=True):
    rung: Rung
    evict: tuple[str, ...] = ()
    """Idle models, by name, that must be gone before it is loaded."""


class Wait(Struct, frozen=True, kw_only=True):
    """Busy models whose end makes room for `rung`, idle ones evicted beside; then choose anew."""

    rung: Rung
    busy: tuple[str, ...]


def choose(
    ladder: Ladder,
    *,
    budget_bytes: int,
    residents: Sequence[Resident] = (),
    device_budget_bytes: int = 0,
    parallel_share: float = PARALLEL_SHARE,
) -> Chosen | Wait:
    """`budget_bytes` is free now, with all residents in memory. `device_budget_bytes`: the GPU's, where it
    has memory of its own. Raises InsufficientMemory.
    """
    room = Room(max(0, budget_bytes), max(0, device_budget_bytes))
    idle = [one for one in residents if one.is_idle]
    for rung in ladder.rungs:
        chosen = _fitted(rung, ladder, room, idle, parallel_share)
        if chosen is not None:
            return chosen
    return _waiting(ladder, room, residents)


def _fitted(rung: Rung, ladder: Ladder, room: Room, idle: Sequence[Resident], share: float) -> Chosen | None:
    if _is_extra(rung, ladder):
        part = Room(int(room.host_bytes * share), int(room.device_bytes * share))
        return Chosen(rung=rung) if part.covers(_need(rung)) else None
    gone = victims(idle, room=room, need=_need(rung))
    return None if gone is None else Chosen(rung=rung, evict=gone)


def _waiting(ladder: Ladder, room: Room, residents: Sequence[Resident]) -> Wait:
    """Raises InsufficientMemory."""
    movable = [one for one in residents if not one.is_pinned]
    busy = [one for one in movable if one.is_busy]
    freed = room.plus([one for one in movable if not one.is_busy])
    for rung in _firm(ladder):
        needed = victims(busy, room=freed, need=_need(rung))
        if needed:
            return Wait(rung=rung, busy=needed)
    raise _refusal(ladder, room.plus(movable), [one for one in residents if one.is_pinned])


def _refusal(ladder: Ladder, room: Room, pinned: Sequence[Resident]) -> InsufficientMemory:
    nearest = min(_firm(ladder), key=lambda rung: (_shortfall(rung, room), -rung.worth))
    fitting = [rung for rung in ladder.below if room.covers(_need(rung))]
    unpinned = room.plus(pinned)
    return InsufficientMemory(
        model=ladder.model,
        needed_bytes=nearest.footprint.total_bytes,
        available_bytes=nearest.footprint.total_bytes - _shortfall(nearest, room),
        min_ctx=ladder.min_ctx,
        largest_ctx=max((rung.placement.n_ctx_seq for rung in fitting), default=0),
        pinned=sorted(one.model for one in pinned)
        if any(unpinned.covers(_need(rung)) for rung in _firm(ladder))
        else None,
    )


def _shortfall(rung: Rung, room: Room) -> int:
    need = _need(rung)
    return max(0, need.host_bytes - room.host_bytes) + max(0, need.device_bytes - room.device_bytes)


def _need(rung: Rung) -> Room:
    return Room(rung.footprint.host_bytes, rung.footprint.device_bytes)


def _is_extra(rung: Rung, ladder: Ladder) -> bool:
    return rung.placement.n_seq_max > ladder.comfortable


def _firm(ladder: Ladder) -> list[Rung]:
    """At least one: `build` gives one with a single slot."""
    return [rung for rung in ladder.rungs if not _is_extra(rung, ladder)]
