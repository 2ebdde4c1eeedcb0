"""Where all requests of all models wait: one bound for everybody, one line per model. Pure.

What models do not share (their leases) is handed out by each line on its own (`queue.FairQueue`). What they
share is handed out here: the places to wait, and the order in which models should get memory.

Places. `limit` counts those who wait and could not run at once: a free lease of their model is a place of its
own, so that a model that loads, or a burst after an idle hour, takes none. When the room is full the newcomer
is refused, unless somebody else has to give way:

1. The owner with the most places has at least two more than the newcomer's owner: that one.
2. The newcomer is realtime: the background item of its own owner, or of one with more places.
3. The newcomer's own owner, where another line of it is longer by at least two: so that nobody who floods one
   model shuts the same key out of another.

Of the chosen owner goes who counts as background before who counts as realtime, from its longest line the
newest. Who goes has not begun, and is told `Overloaded` with when to come again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from appliance.errors import Overloaded
from appliance.supervisor.policy import QueuePolicy
from appliance.supervisor.queue import BACKGROUND_MAX_WAIT_S, Entry, FairQueue
from appliance.supervisor.turn import Priority, QueueCounts, Standing, Turn, Waiting

_TELL_EVERY_S = 0.5


class Guest(Protocol):
    """What the room needs of one who waits (`ticket.Ticket`)."""

    arrived_s: float | None
    """Set when it first comes; it may change lines."""
    first_standing: Standing | None
    standing: Standing | None

    @property
    def owner(self) -> str: ...
    @property
    def turn(self) -> Turn: ...


G = TypeVar("G", bound=Guest)
G_contra = TypeVar("G_contra", bound=Guest, contravariant=True)


class Host(Protocol[G_contra]):
    """The desk at the head of a line."""

    @property
    def name(self) -> str: ...
    @property
    def free_leases(self) -> int:
        """Not taken, whether its runner is ready or not."""

    def eta_s(self, position: int) -> float | None:
        """Of the one at `position` of the line, 1 being the next; None: nobody can tell."""

    def displaced(self, guest: G_contra, /) -> None:
        """It is out of the line and must be told."""


class WaitingRoom(Generic[G]):
    """Owned by the supervisor thread."""

    def __init__(self, *, limit: int, background_max_wait_s: float = BACKGROUND_MAX_WAIT_S) -> None:
        self.limit = limit
        self.is_background_held = False
        """No background item is served, however old; they wait and age."""
        self._max_wait_s = background_max_wait_s
        self._lines: dict[Line[G], None] = {}
        """In which somebody waits, in order of the first who came."""
        self._owners: Counter[str] = Counter()
        """How many each has waiting."""
        self._turns: dict[str, int] = {}
        """When each owner who waits came or was last served: whose is least is the next, over all lines."""
        self._waiting: Counter[Priority] = Counter()
        self._served = 0
        self._expired: Counter[Priority] = Counter()
        self._displaced: Counter[Priority] = Counter()

    @classmethod
    def of(cls, policy: QueuePolicy) -> WaitingRoom[G]:
        return cls(limit=policy.max_waiting, background_max_wait_s=policy.background_max_wait_s)

    def line(self, host: Host[G]) -> Line[G]:
        return Line(self, host, FairQueue(background_max_wait_s=self._max_wait_s))

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines)

    @property
    def taken(self) -> int:
        """Places of the limit."""
        return sum(line.places for line in self._lines)

    def lines_in_turn(self, now_s: float) -> list[Line[G]]:
        """In which their models should get what only one of them can have, as memory: realtime before
        background, then owners in turn over all lines, then who came first.
        """
        heads = [(min(map(self._rank, line.order(now_s))), line) for line in self._lines]
        return [line for _, line in sorted(heads, key=lambda head: head[0])]

    def listing(self, now_s: float, *, owner: str | None = None) -> list[Waiting]:
        """All who wait, or those of `owner`: line by line, each in turn."""
        return [
            shown for line in self._lines for shown in line.listing(now_s) if owner in {None, shown.owner}
        ]

    def counts(self) -> QueueCounts:
        told = {"waiting": self._waiting, "expired": self._expired, "displaced": self._displaced}
        return QueueCounts(
            is_background_held=self.is_background_held,
            **{
                name: {priority: counter[priority] for priority in Priority} for name, counter in told.items()
            },
        )

    def full(self, retry_after_s: float, *, is_displaced: bool = False) -> Overloaded:
        """For who finds no place, or loses his."""
        return Overloaded(
            waiting=self.taken, limit=self.limit, retry_after_s=retry_after_s, is_displaced=is_displaced
        )

    # ── for the lines ──────────────────────────────────────────────────────────────────────────────────────

    def make_place(self, guest: G, line: Line[G]) -> bool:
        """Whether there is a place for `guest` at the end of `line`; another may have lost his."""
        if len(line) < line.host.free_leases or self.taken < self.limit:
            return True
        found = self._who_gives_way(guest, line)
        if found is None:
            return False
        loser, of = found
        self._displaced[loser.priority] += 1
        of.remove(loser.item)
        of.host.displaced(loser.item)
        return True

    def came(self, guest: G, line: Line[G]) -> None:
        self._lines.setdefault(line)
        self._waiting[guest.turn.priority] += 1
        self._owners[guest.owner] += 1
        self._turns.setdefault(guest.owner, self._next_number())

    def served(self, owner: str) -> None:
        self._turns[owner] = self._next_number()

    def left(self, guest: G, line: Line[G]) -> None:
        """After every departure."""
        if not len(line):
            self._lines.pop(line, None)
        self._waiting[guest.turn.priority] -= 1
        self._owners[guest.owner] -= 1
        if not self._owners[guest.owner]:
            del self._owners[guest.owner], self._turns[guest.owner]

    def expired(self, priority: Priority) -> None:
        self._expired[priority] += 1

    # ── inside ─────────────────────────────────────────────────────────────────────────────────────────────

    def _who_gives_way(self, guest: G, line: Line[G]) -> tuple[Entry[G], Line[G]] | None:
        """See the rules of the module."""
        owners = self._owners
        mine = owners[guest.owner]
        movable = [one for one in self._lines if one.places > 0]
        fattest = self._worst(movable, lambda entry: owners[entry.owner] > mine + 1)
        if fattest is not None:
            return fattest  # 1
        if guest.turn.priority is Priority.REALTIME:
            less = self._worst(
                movable,
                lambda entry: (
                    entry.counts_as is Priority.BACKGROUND
                    and (entry.owner == guest.owner or owners[entry.owner] > mine)
                ),
            )
            if less is not None:
                return less  # 2
        here = _length(line, guest.owner)
        longer = [one for one in movable if one is not line and _length(one, guest.owner) > here + 1]
        is_urgent = guest.turn.priority is Priority.REALTIME
        return self._worst(
            longer,
            lambda entry: (
                entry.owner == guest.owner and (is_urgent or entry.counts_as is Priority.BACKGROUND)
            ),
        )  # 3

    def _worst(
        self, lines: list[Line[G]], may: Callable[[Entry[G]], bool]
    ) -> tuple[Entry[G], Line[G]] | None:
        """Who has to go first of those who `may`."""
        found = [(entry, line) for line in lines for entry in line.entries() if may(entry)]
        return max(
            found,
            key=lambda one: (
                self._owners[one[0].owner],
                one[0].owner,
                one[0].counts_as is Priority.BACKGROUND,
                _length(one[1], one[0].owner),
                one[0].number,
            ),
            default=None,
        )

    def _rank(self, entry: Entry[G]) -> tuple[bool, int, int]:
        return entry.counts_as is Priority.BACKGROUND, self._turns[entry.owner], entry.number

    def _next_number(self) -> int:
        self._served += 1
        return self._served


class Line(Generic[G]):
    """The waiting room in front of one model. Owned by the supervisor thread."""

    def __init__(self, room: WaitingRoom[G], host: Host[G], queue: FairQueue[G]) -> None:
        self.host = host
        self.room = room
        self._queue = queue
        self._told_at_s = -math.inf

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, guest: G) -> bool:
        return guest in self._queue

    @property
    def places(self) -> int:
        """How many of the room's it takes."""
        return max(0, len(self._queue) - self.host.free_leases)

    @property
    def next_deadline_s(self) -> float | None:
        return self._queue.next_deadline_s

    def entries(self) -> Iterator[Entry[G]]:
        return iter(self._queue)

    def count(self, priority: Priority) -> int:
        return self._queue.count(priority)

    def push(self, guest: G, now_s: float) -> bool:
        """False when there is no place for it."""
        if not self.room.make_place(guest, self):
            return False
        if guest.arrived_s is None:
            guest.arrived_s = now_s
        limit_s = guest.turn.deadline_s
        self._queue.push(
            guest,
            owner=guest.owner,
            now_s=now_s,
            priority=guest.turn.priority,
            deadline_s=None if limit_s is None else guest.arrived_s + limit_s,
            arrived_s=guest.arrived_s,
        )
        self.room.came(guest, self)
        return True

    def pop(self, now_s: float) -> G | None:
        """The next in turn; None when nobody may be served."""
        entry = self._queue.pop(now_s, is_background_held=self.room.is_background_held)
        if entry is None:
            return None
        self.room.served(entry.owner)
        self.room.left(entry.item, self)
        return entry.item

    def remove(self, guest: G) -> bool:
        """Take it out of turn; False when it is not here (any more)."""
        is_here = self._queue.remove(guest)
        if is_here:
            self.room.left(guest, self)
        return is_here

    def expire(self, now_s: float) -> list[G]:
        """Take out those whose deadline has come."""
        gone = self._queue.expire(now_s)
        for entry in gone:
            self.room.expired(entry.priority)
            self.room.left(entry.item, self)
        return [entry.item for entry in gone]

    def drain(self, now_s: float) -> list[G]:
        """Everyone, in turn."""
        gone = self._queue.drain(now_s)
        for entry in gone:
            self.room.left(entry.item, self)
        return [entry.item for entry in gone]

    def order(self, now_s: float) -> list[Entry[G]]:
        return self._queue.order(now_s, is_background_held=self.room.is_background_held)

    def standings(self, now_s: float) -> Iterator[tuple[Entry[G], Standing]]:
        """All who wait, in turn. Background that is held has no ETA."""
        is_held = self.room.is_background_held
        for position, entry in enumerate(self.order(now_s), 1):
            can_tell = not (is_held and entry.counts_as is Priority.BACKGROUND)
            eta_s = self.host.eta_s(position) if can_tell else None
            yield entry, Standing(position=position, eta_s=eta_s)

    def tell(self, now_s: float) -> None:
        """Tell all who wait where they stand."""
        self._told_at_s = now_s
        for entry, standing in self.standings(now_s):
            guest = entry.item
            guest.standing = standing
            guest.first_standing = guest.first_standing or standing

    def tell_again(self, now_s: float) -> None:
        """`tell`, unless they were told just now: many may ask for it."""
        if now_s - self._told_at_s >= _TELL_EVERY_S:
            self.tell(now_s)

    def listing(self, now_s: float) -> Iterator[Waiting]:
        for entry, standing in self.standings(now_s):
            deadline_s = entry.deadline_s
            yield Waiting(
                request_id=entry.item.turn.request_id,
                model=self.host.name,
                owner=entry.owner,
                priority=entry.priority,
                has_aged=entry.has_aged,
                waited_s=now_s - entry.arrived_s,
                deadline_in_s=None if deadline_s is None else deadline_s - now_s,
                standing=standing,
            )


def _length(line: Line[G], owner: str) -> int:
    return sum(entry.owner == owner for entry in line.entries())
