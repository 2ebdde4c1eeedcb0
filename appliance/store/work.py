"""Which long verbs are at work, so that a store is closed only behind them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.errors import ShuttingDown
from appliance.store.content import Progress, Report


class Work:
    """Any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
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

        with self._changed:
            if self._is_halted:
                raise ShuttingDown
            self._running += 1
        try:
            yield guarded
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def halt(self) -> None:
        """End what runs at its next step, refuse what comes."""
        with self._changed:
            self._is_halted = True

    def wait(self, timeout_s: float) -> bool:
        """After `halt`: whether all ended in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout_s)
