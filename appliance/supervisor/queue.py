"""The fair queue in front of one model, and the guess how long it takes. Pure: no clock, no thread.

The next one is chosen so:

1. Of the class realtime, as long as one waits there; else of the class background.
2. A background item that has waited for `background_max_wait_s` counts as realtime from then on, with the
   place in its owner's lane that its arrival gives it.
3. Within a class owners take turns; within an owner, first come first served.

So an item of an owner who has `k` older ones waits for at most `(k + 1) * m - 1` others, where `m` owners
have realtime items meanwhile: at once when it is realtime, else `background_max_wait_s` later. While
background is held back rule 2 rests: items grow older, and those that are old enough count as realtime when
the hold ends.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from appliance.supervisor.turn import Priority

Item = TypeVar("Item")

BACKGROUND_MAX_WAIT_S = 60.0
_SMOOTHING = 0.2
_FIRST_GUESS_S = 5.0
_MIN_RETRY_S = 1.0
_MAX_RETRY_S = 120.0

_arrivals = itertools.count(1)
"""Over all queues, so that of two entries anywhere the newer one is known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry(Generic[Item]):
    """One who waits, compared by identity. All times on the same clock."""

    item: Item
    owner: str
    priority: Priority
    """As it wished."""
    counts_as: Priority
    arrived_s: float
    deadline_s: float | None
    number: int

    @property
    def has_aged(self) -> bool:
        return self.counts_as is not self.priority


Lanes = OrderedDict[str, deque[Entry[Item]]]
"""Of one class, by owner; whose turn it is comes first."""


class FairQueue(Generic[Item]):
    """See the module. Items are told apart by their hash. Owned by the supervisor thread.

    An owner that floods the queue delays itself only: whoever comes with a first item waits for at most one
    item of each other owner.
    """

    def __init__(self, *, background_max_wait_s: float = BACKGROUND_MAX_WAIT_S) -> None:
        self._max_wait_s = background_max_wait_s
        self._lanes: dict[Priority, Lanes[Item]] = {priority: OrderedDict() for priority in Priority}
        self._numbers: dict[Item, int] = {}
        self._entries: dict[int, Entry[Item]] = {}
        self._ageing: list[tuple[float, int]] = []
        """(when it counts as realtime, number) of background entries, as a heap; some may be gone."""
        self._deadlines: list[tuple[float, int]] = []
        """The same of deadlines."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item: Item) -> bool:
        return item in self._numbers

    def __iter__(self) -> Iterator[Entry[Item]]:
        """All, in order of arrival."""
        return iter(self._entries.values())

    def count(self, priority: Priority) -> int:
        """Of those who wished it."""
        return sum(entry.priority is priority for entry in self)

    # ── coming and going ───────────────────────────────────────────────────────────────────────────────────

    def push(
        self,
        item: Item,
        *,
        owner: str,
        now_s: float,
        priority: Priority = Priority.REALTIME,
        deadline_s: float | None = None,
        arrived_s: float | None = None,
    ) -> None:
        """`arrived_s`: where it waited elsewhere before."""
        entry = Entry(
            item=item,
            owner=owner,
            priority=priority,
            counts_as=priority,
            arrived_s=now_s if arrived_s is None else arrived_s,
            deadline_s=deadline_s,
            number=next(_arrivals),
        )
        self._numbers[item] = entry.number
        self._entries[entry.number] = entry
        self._lanes[priority].setdefault(owner, deque()).append(entry)
        if priority is Priority.BACKGROUND:
            heapq.heappush(self._ageing, (entry.arrived_s + self._max_wait_s, entry.number))
        if deadline_s is not None:
            heapq.heappush(self._deadlines, (deadline_s, entry.number))

    def pop(self, now_s: float, *, is_background_held: bool = False) -> Entry[Item] | None:
        """The next in turn; None when nobody may be served."""
        if not is_background_held:
            self._promote(now_s)
        for priority in (Priority.REALTIME,) if is_background_held else Priority:
            lanes = self._lanes[priority]
            if lanes:
                owner, lane = lanes.popitem(last=False)
                entry = lane.popleft()
                if lane:
                    lanes[owner] = lane
                self._forget(entry)
                return entry
        return None

    def remove(self, item: Item) -> bool:
        """Take `item` out of turn; False when it is not here (any more)."""
        number = self._numbers.get(item)
        if number is None:
            return False
        entry = self._entries[number]
        self._leave_lane(entry)
        self._forget(entry)
        return True

    def expire(self, now_s: float) -> list[Entry[Item]]:
        """Take out those whose deadline has come."""
        gone = []
        while self._deadlines and self._deadlines[0][0] <= now_s:
            entry = self._entries.get(heapq.heappop(self._deadlines)[1])
            if entry is not None:
                self.remove(entry.item)
                gone.append(entry)
        return gone

    def drain(self, now_s: float) -> list[Entry[Item]]:
        """Everything, in turn; the queue is empty afterwards."""
        gone = []
        while (entry := self.pop(now_s)) is not None:
            gone.append(entry)
        return gone

    # ── looking ────────────────────────────────────────────────────────────────────────────────────────────

    def order(self, now_s: float, *, is_background_held: bool = False) -> list[Entry[Item]]:
        """In which they are served if nobody else comes or leaves, and no time passes. O(n)."""
        twin = self._twin()
        if not is_background_held:
            twin._promote(now_s)  # noqa: SLF001 - of the same class
        return [entry for priority in Priority for entry in _in_turn(twin._lanes[priority])]  # noqa: SLF001

    @property
    def next_deadline_s(self) -> float | None:
        """When `expire` has something to do, at the earliest."""
        while self._deadlines and self._deadlines[0][1] not in self._entries:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    # ── inside ─────────────────────────────────────────────────────────────────────────────────────────────

    def _promote(self, now_s: float) -> None:
        while self._ageing and self._ageing[0][0] <= now_s:
            entry = self._entries.get(heapq.heappop(self._ageing)[1])
            if entry is None:
                continue
            self._leave_lane(entry)
            aged = replace(entry, counts_as=Priority.REALTIME)
            self._entries[entry.number] = aged
            lane = self._lanes[Priority.REALTIME].setdefault(entry.owner, deque())
            lane.insert(sum(other.number < entry.number for other in lane), aged)

    def _leave_lane(self, entry: Entry[Item]) -> None:
        lanes = self._lanes[entry.counts_as]
        lane = lanes[entry.owner]
        lane.remove(entry)
        if not lane:
            del lanes[entry.owner]

    def _forget(self, entry: Entry[Item]) -> None:
        del self._numbers[entry.item]
        del self._entries[entry.number]

    def _twin(self) -> FairQueue[Item]:
        twin: FairQueue[Item] = FairQueue(background_max_wait_s=self._max_wait_s)
        twin._lanes = {
            priority: OrderedDict((owner, lane.copy()) for owner, lane in lanes.items())
            for priority, lanes in self._lanes.items()
        }
        twin._entries, twin._ageing = dict(self._entries), list(self._ageing)
        return twin


def _in_turn(lanes: Lanes[Item]) -> Iterator[Entry[Item]]:
    """One of each owner, again and again. Empties the lanes."""
    turns = deque(lanes.values())
    while turns:
        lane = turns.popleft()
        yield lane.popleft()
        if lane:
            turns.append(lane)


class ServiceTime:
    """Smoothed seconds a lease is held, and what follows for someone who waits. Owned by the supervisor
    thread.
    """

    def __init__(self) -> None:
        self._mean_s: float | None = None

    def observe(self, held_s: float) -> None:
        mean = self._mean_s
        self._mean_s = held_s if mean is None else mean + _SMOOTHING * (held_s - mean)

    def eta_s(self, *, position: int, max_running: int) -> float:
        """When the one at `position` (1: the next) has its turn: all before it and itself, `max_running` at a
        time.
        """
        mean = _FIRST_GUESS_S if self._mean_s is None else self._mean_s
        return mean * position / max_running

    def retry_after_s(self, *, waiting: int, max_running: int) -> float:
        """When a place in the queue is likely free for one more, within the bounds of what a client is
        told.
        """
        eta_s = self.eta_s(position=waiting + 1, max_running=max_running)
        return min(_MAX_RETRY_S, max(_MIN_RETRY_S, eta_s))
