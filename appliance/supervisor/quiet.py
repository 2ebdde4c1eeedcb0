"""A child that must not be in anybody's way: it stands still (SIGSTOP) while somebody waits for an answer."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Final

from appliance.errors import MachineBusy

Asked = Callable[[], bool]

ASK_EVERY_S: Final = 0.05
"""So long a request shares the machine with the child before it stands still."""
_QUIET_S: Final = 1.0
"""After the last answer, before it goes on: its user may have a next question."""


class Quiet:
    """Owned by the thread that asked for the child's work."""

    def __init__(self, pid: int, *, busy: Asked, check_wanted: Callable[[], None], patience_s: float) -> None:
        """`check_wanted` is called while we wait, and raises when nobody wants the work any more."""
        self._pid = pid
        self._busy = busy
        self._check_wanted = check_wanted
        self._patience_s = patience_s
        self._waited_s = 0.0
        self._waits_since_s: float | None = None

    @property
    def waited_s(self) -> float:
        """In all, the wait that goes on included."""
        now_s = time.monotonic()
        return self._waited_s + (now_s - (now_s if self._waits_since_s is None else self._waits_since_s))

    def stand_still(self, tell: Callable[[], None]) -> bool:
        """Whether it had to: then what it computed meanwhile was disturbed. Raises MachineBusy."""
        if not self._busy():
            return False
        self._signal(signal.SIGSTOP)
        self.wait(tell)
        self._signal(signal.SIGCONT)
        return True

    def wait(self, tell: Callable[[], None]) -> None:
        """At once where nobody is there, else until nobody has been for a moment. Raises MachineBusy."""
        began_s = self._waits_since_s = time.monotonic()
        busy_s = began_s if self._busy() else None
        while busy_s is not None and time.monotonic() - busy_s < _QUIET_S:
            self._check_wanted()
            tell()
            waited_s = time.monotonic() - began_s
            if waited_s > self._patience_s:
                raise MachineBusy(waited_s=waited_s)
            time.sleep(ASK_EVERY_S)
            if self._busy():
                busy_s = time.monotonic()
        self._waited_s += time.monotonic() - began_s
        self._waits_since_s = None

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)
