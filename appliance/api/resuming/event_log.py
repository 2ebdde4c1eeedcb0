r"""The events of one stream, numbered, within a bound of bytes. Values only: no thread, no clock.

append:  data: {…}\\n\\n   ─►   id: 7\\ndata: {…}\\n\\n
after(5) ─► the events 6, 7, …
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

_SEPARATOR: Final = b"\n\n"
_EVENT_OVERHEAD_BYTES: Final = 64
"""What an event takes in memory beside its bytes."""
_NUMBER_BYTES: Final = 24
"""More than its number and its separator have."""


@dataclass(frozen=True, slots=True)
class Split:
    """What one write of a stream holds."""

    events: list[bytes]
    """Without their separators."""
    comment: bytes
    """The last one, whole; empty: there is none."""


def split(chunk: bytes) -> Split:
    """`chunk`: whole events and comments, as `sse.EventStream` writes them. JSON has no bare line ends."""
    parts = [part for part in chunk.split(_SEPARATOR) if part]
    comments = [part for part in parts if part.startswith(b":")]
    return Split(
        events=[part for part in parts if not part.startswith(b":")],
        comment=comments[-1] + _SEPARATOR if comments else b"",
    )


class EventLog:
    """Not for more than one thread."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._events: deque[bytes] = deque()
        self._size_bytes = 0
        self.first_id = 1
        """Of the events that are here."""

    @property
    def last_id(self) -> int:
        """Of all that ever came; 0: none came."""
        return self.first_id + len(self._events) - 1

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def append(self, events: list[bytes]) -> None:
        """Whatever the bound: `make_room` beforehand."""
        for event in events:
            numbered = b"id: %d\n%b\n\n" % (self.last_id + 1, event)
            self._events.append(numbered)
            self._size_bytes += _weight(numbered)

    def make_room(self, events: list[bytes], *, through_id: int) -> bool:
        """Whether `events` fit, or nothing else is here. Beforehand the oldest are forgotten, none after
        `through_id`, until half of the room is free: the other half is for a time without a reader.
        """
        needed = sum(_weight(event) + _NUMBER_BYTES for event in events)
        most = self._limit_bytes // 2 - needed
        while self._events and self.first_id <= through_id and self._size_bytes > most:
            self._size_bytes -= _weight(self._events.popleft())
            self.first_id += 1
        return not self._events or self._size_bytes + needed <= self._limit_bytes

    def after(self, event_id: int, *, most_bytes: int) -> tuple[bytes, int]:
        """The events behind `event_id`, at least one if there is any, and the id of the last of them."""
        parts: list[bytes] = []
        size = 0
        for at in range(event_id + 1 - self.first_id, len(self._events)):
            event = self._events[at]
            if parts and size + len(event) > most_bytes:
                break
            parts.append(event)
            size += len(event)
        return b"".join(parts), event_id + len(parts)


def _weight(event: bytes) -> int:
    return len(event) + _EVENT_OVERHEAD_BYTES
