"""A running generation: one lease, one mailbox, used by the one handler thread that asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from appliance.errors import OutpostError
from appliance.supervisor.client import Runner
from appliance.supervisor.faults import fresh
from appliance.supervisor.mailbox import Mailbox
from appliance.wire.messages import Accepted, Delta, Progress


class RunningGeneration:
    """Implements `inference.Generation`. Owned by the handler thread."""

    def __init__(
        self, *, accepted: Accepted, mailbox: Mailbox, runner: Runner, release: Callable[[bool], None]
    ) -> None:
        """`release(succeeded)` gives the lease back; it is called exactly once."""
        self._accepted = accepted
        self._mailbox = mailbox
        self._runner = runner
        self._release = release
        self._error: OutpostError | None = None
        self._is_over = False

    @property
    def accepted(self) -> Accepted:
        return self._accepted

    def next(self, timeout_s: float) -> list[Delta | Progress] | None:
        if self._error is not None:
            error, self._error = self._error, None
            self._finish(succeeded=False)
            raise fresh(error)
        items = self._mailbox.take_all(timeout_s)
        if not items:
            return None
        last = items[-1]
        if isinstance(last, OutpostError):
            # What came before the fault is handed out first; the fault is raised by the next call.
            self._error = last
            items.pop()
            return cast(list[Delta | Progress], items) if items else self.next(0.0)
        if isinstance(last, Delta) and last.usage is not None:
            self._finish(succeeded=True)
        return cast(list[Delta | Progress], items)

    def close(self) -> None:
        if not self._is_over:
            self._runner.cancel(self._mailbox)
            self._finish(succeeded=False)

    def _finish(self, *, succeeded: bool) -> None:
        if not self._is_over:
            self._is_over = True
            self._release(succeeded)
