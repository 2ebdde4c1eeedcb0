"""A verb of the store at work, and its progress as lines of JSON (NDJSON).

    {"status": "pulling 6a0746a1ec1a", "digest": "sha256:…", "total": 91739904, "completed": 1048576}
    {"status": "success", …outcome…}       the last line, or
    {"error": {…}}                          from the one table

The verb runs in a thread of its own and blocks as long as it must; the request's thread writes what is new at
most ten times a second, and looks whether anybody still reads. Nobody does: the next report of the verb
raises, it ends, and what has come waits for the next try. Who waits for a child reports four times a second
(`content.Wanted`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from appliance import log
from appliance.api import error_responses
from appliance.api.error_responses import row_of
from appliance.api.exchange import Exchange
from appliance.errors import ClientGone, OutpostError
from appliance.store.answers import progress_object
from appliance.store.content import Progress, Report
from appliance.store.digest import Digest
from appliance.store.operations import Outcome

_log = log.logger("api")

Work = Callable[[Report], Outcome]
ErrorObject = Callable[[Exception], dict[str, Any]]

MIN_INTERVAL_S: Final = 0.1
POLL_S: Final = 0.25
"""How soon a closed connection is noticed."""
CANCEL_S: Final = 20.0
"""How long a cancelled verb may take to its next report: a large block on a slow disk."""
_MAX_NEWS: Final = 1024


class Operation:
    """Owned by the thread of the request, which starts, iterates and closes it; `_news`, `_outcome` and
    `_fault` are given to it by the verb's thread under the lock.
    """

    def __init__(
        self,
        work: Work,
        exchange: Exchange,
        *,
        heartbeat_s: float,
        error_object: ErrorObject = error_responses.error_object,
    ) -> None:
        """`error_object`: the form of the last line where the verb fails."""
        self._work = work
        self._error_object = error_object
        self._exchange = exchange
        self._heartbeat_s = heartbeat_s
        self._changed = threading.Condition()
        self._news: dict[tuple[str, Digest | None], Progress] = {}
        self._latest: Progress | None = None
        self._outcome: Outcome | None = None
        self._fault: Exception | None = None
        self._is_cancelled = False
        self._is_told = False
        self._thread = threading.Thread(target=self._run, name="store-operation", daemon=True)

    def start(self) -> None:
        """Returns with the verb's first news or its end. Raises the fault it began with: that has a status of
        its own, as nothing is sent yet. Raises ClientGone.
        """
        self._thread.start()
        while not self._wait(POLL_S):
            if self._exchange.gone():
                self._cancel()
                raise ClientGone
        with self._changed:
            if self._fault is not None and not self._news:
                raise self._fault

    def finish(self) -> Outcome:
        """In place of iterating: its outcome alone, after `start`. Raises its fault, ClientGone."""
        while True:
            self._wait(POLL_S)
            _, outcome, fault = self._take()
            if fault is not None:
                raise fault
            if outcome is not None:
                return outcome
            if self._exchange.gone():
                self._cancel()
                raise ClientGone

    def __iter__(self) -> Iterator[bytes]:
        last, told_s = b"", time.monotonic()
        while True:
            is_new = self._wait(POLL_S)
            if self._exchange.gone():
                return
            news, outcome, fault = self._take()
            lines = [_line(progress_object(progress)) for progress in news]
            if outcome is not None:
                lines.append(_line({"status": "success", **outcome}))
            elif fault is not None:
                lines.append(self._fault_line(fault))
            elif not is_new and time.monotonic() - told_s >= self._heartbeat_s:
                lines = [last or b"\n"]
            if lines:
                last, told_s = lines[-1], time.monotonic()
                yield b"".join(lines)
            if outcome is not None or fault is not None:
                return
            self._rest(MIN_INTERVAL_S)

    def close(self) -> None:
        """Called by waitress in every case. Cancels what still runs."""
        self._cancel()
        self._exchange.end()

    # ── the request's thread ───────────────────────────────────────────────────────────────────────────────

    def _wait(self, timeout_s: float) -> bool:
        """Whether there is something to tell."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._news) or self._is_over, timeout_s)

    def _rest(self, seconds: float) -> None:
        """News may gather; the end is told at once."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over, seconds)

    def _take(self) -> tuple[list[Progress], Outcome | None, Exception | None]:
        with self._changed:
            news = list(self._news.values())
            self._news.clear()
            return news, self._outcome, self._fault

    def _cancel(self) -> None:
        with self._changed:
            self._is_cancelled = True
        if self._thread.is_alive():
            self._thread.join(CANCEL_S)
            if self._thread.is_alive():
                _log.error("operation_left_behind", request_id=self._exchange.request_id)

    def _fault_line(self, fault: Exception) -> bytes:
        self._exchange.error_code = row_of(fault).code
        if not isinstance(fault, OutpostError):
            _log.error("operation_failed", request_id=self._exchange.request_id, exc_info=fault)
        return _line(self._error_object(fault))

    @property
    def _is_over(self) -> bool:
        return self._outcome is not None or self._fault is not None

    # ── the verb's thread ──────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        """Top of the verb's thread."""
        outcome, fault = None, None
        try:
            outcome = self._work(self._report)
        except Exception as error:  # noqa: BLE001 - thread top; the request's thread tells it
            fault = error
        with self._changed:
            self._outcome, self._fault = outcome, fault
            self._changed.notify_all()

    def _report(self, progress: Progress) -> None:
        """Of each blob only the newest is kept: the reader may be slower than the work. What is said again is
        no news.
        """
        with self._changed:
            if self._is_cancelled:
                raise ClientGone
            if progress == self._latest:
                return
            self._latest = progress
            self._news[progress.status, progress.digest] = progress
            if len(self._news) > _MAX_NEWS:
                del self._news[next(iter(self._news))]
            self._changed.notify_all()


def _line(told: dict[str, Any]) -> bytes:
    return msgspec.json.encode(told) + b"\n"
