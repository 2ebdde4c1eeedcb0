"""Which long verbs are at work, so that a store is closed only behind them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from appliance.errors import ShuttingDown
from appliance.store.content import Progress, Report


class Work:
    """Any thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._began_s: dict[object, float] = {}
        self._is_halted = False

    @contextmanager
    def one(self, report: Report) -> Iterator[Report]:
        """Around a verb; what it gives is to be reported to. Once halted, the next report ends the verb with
        ShuttingDown.
        """

        def guarded(progress: Progress) -> None:
            if self._is_halted:
                raise ShuttingDown
            report(progress)

        verb = object()
        with self._changed:
            if self._is_halted:
                raise ShuttingDown
            self._began_s[verb] = self._monotonic()
        try:
            yield guarded
        finally:
            with self._changed:
                del self._began_s[verb]
                self._changed.notify_all()

    def since_s(self) -> float:
        """On the monotonic clock: whatever a verb that is at work now, or begins later, does, is not before
        it.
        """
        with self._changed:
            return min(self._began_s.values(), default=self._monotonic())

    def halt(self) -> None:
        """End what runs at its next step, refuse what comes."""
        with self._changed:
            self._is_halted = True

    def wait(self, timeout_s: float) -> bool:
        """After `halt`: whether all ended in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._began_s, timeout_s)
