"""The bounded, fair queue in front of one model, and the guess how long it takes. Pure: no clock, no
thread.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

_SMOOTHING = 0.2
_FIRST_GUESS_S = 5.0
_MIN_RETRY_S = 1.0
_MAX_RETRY_S = 120.0


class FairQueue(Generic[Item]):
    """Round robin among owners, first come first served within one. Owned by the supervisor thread.

    An owner that floods the queue delays itself only: whoever comes with a first item waits for at most one
    item of each other owner. The bound is over all owners.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lanes: OrderedDict[str, deque[Item]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def is_full(self) -> bool:
        return self._length >= self.limit

    def push(self, owner: str, item: Item) -> None:
        """The caller has asked `is_full`; past the limit this is a bug and raises OverflowError."""
        if self.is_full:
            raise OverflowError(f"the queue holds {self._length} of {self.limit}")
        self._lanes.setdefault(owner, deque()).append(item)
        self._length += 1

    def pop(self) -> Item:
        """The next item in turn. Raises IndexError when empty."""
        if not self._lanes:
            raise IndexError("the queue is empty")
        owner, lane = self._lanes.popitem(last=False)
        item = lane.popleft()
        if lane:
            self._lanes[owner] = lane
        self._length -= 1
        return item

    def remove(self, owner: str, item: Item) -> bool:
        """Take `item` out of turn; False when it is not here (any more)."""
        lane = self._lanes.get(owner)
        if lane is None or item not in lane:
            return False
        lane.remove(item)
        if not lane:
            del self._lanes[owner]
        self._length -= 1
        return True

    def drain(self) -> list[Item]:
        """Everything, in turn; the queue is empty afterwards."""
        return [self.pop() for _ in range(self._length)]


class ServiceTime:
    """Smoothed seconds a lease is held, and what follows for someone who waits. Owned by the supervisor
    thread.
    """

    def __init__(self) -> None:
        self._mean_s: float | None = None

    def observe(self, held_s: float) -> None:
        mean = self._mean_s
        self._mean_s = held_s if mean is None else mean + _SMOOTHING * (held_s - mean)

    def retry_after_s(self, *, waiting: int, max_running: int) -> float:
        """When a place in the queue is likely free for one more: all who wait, `max_running` at a time."""
        mean = _FIRST_GUESS_S if self._mean_s is None else self._mean_s
        return min(_MAX_RETRY_S, max(_MIN_RETRY_S, mean * (waiting + 1) / max_running))
