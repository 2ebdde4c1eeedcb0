"""A costly reading that may be a little old: however many scrape, it is taken once in a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Any thread; who comes while it is read waits for it."""

    def __init__(
        self, read: Callable[[], Value], *, max_age_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._max_age_s = max_age_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[Value, float] | None = None

    def __call__(self) -> Value:
        with self._lock:
            if self._known is None or self._clock() - self._known[1] >= self._max_age_s:
                self._known = (self._read(), self._clock())
            return self._known[0]

    def forget(self) -> None:
        """It has changed: the next who asks has it read."""
        with self._lock:
            self._known = None
