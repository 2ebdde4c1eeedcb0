"""One stream that outlives its connection.

    generation ─► EventStream ─► the thread `stream-ID` ─► EventLog ─► Reader ─► waitress ─► client
                                                               └─────► Reader of the next connection …

The log holds the newest events, and half of it what was handed out already. While a reader is there and slow,
the thread waits for it, and the mailbox behind holds what comes, as without a log; while none is there, the
generation goes on until the log is full or `keep_s` are over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from appliance import log
from appliance.api.resuming.event_log import EventLog, split
from appliance.api.sse import POLL_S, EventStream
from appliance.errors import Cancelled, EventsLost, InvalidRequest

_log = log.logger("api")

LAST_EVENT_ID: Final = "Last-Event-ID"
_GREETING: Final = b": resumed\n\n"
"""waitress sends the header with the first bytes."""
_MOST_AT_ONCE_BYTES: Final = 64 * 1024
_PARTS: Final = 2
"""The thread, and the first connection: the exchange ends with the last of them."""


class KeptStream:
    """`attach` and `discard` from any thread; `_run` is the stream's own. All state is under `_changed`,
    whose lock a thread may take twice.
    """

    def __init__(
        self,
        stream: EventStream,
        *,
        keep_s: float,
        limit_bytes: int,
        on_end: Callable[[KeptStream], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_end`: called once by its thread, last."""
        self.request_id = stream.exchange.request_id
        self._stream = stream
        self._keep_s = keep_s
        self._limit_bytes = limit_bytes
        self._on_end = on_end
        self._clock = clock
        self._changed = threading.Condition()
        self._log = EventLog(limit_bytes)
        self._comment = b""
        self._comments = 0
        """How many there were."""
        self._reader: Reader | None = None
        self._alone_since_s = clock()
        """When the last reader left, or all had come."""
        self._is_over = False
        """No more events will come."""
        self._is_discarded = False
        self._parts = _PARTS
        stream.exchange.outlive(self._is_abandoned)
        self._thread = threading.Thread(target=self._run, name=f"stream-{self.request_id}", daemon=True)

    def start(self, gone: Callable[[], bool]) -> Reader:
        """Begin, for the client that asked. `gone`: whether its connection is closed."""
        reader = self._attach(0, gone, on_close=self._end_part, greeting=b"")
        self._thread.start()
        return reader

    # ── any thread ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_over(self) -> bool:
        return self._is_over

    @property
    def size_bytes(self) -> int:
        """What its events take in memory."""
        return self._log.size_bytes

    def attach(self, after: int, gone: Callable[[], bool], *, on_close: Callable[[], None]) -> Reader | None:
        """Whoever reads now is sent away: his connection is dead and has not noticed. None: all has come,
        and all is known. Raises EventsLost, InvalidRequest.
        """
        with self._changed:
            if after > self._log.last_id:
                raise InvalidRequest(
                    reason=f"no event has this id; the last one is {self._log.last_id}", param=LAST_EVENT_ID
                )
            if after + 1 < self._log.first_id:
                raise EventsLost(wanted=after + 1, first=self._log.first_id)
            if self._is_over and after == self._log.last_id:
                return None
            return self._attach(after, gone, on_close=on_close, greeting=_GREETING)

    def discard(self) -> None:
        """It is not kept any longer; what still runs is given up."""
        with self._changed:
            self._is_discarded = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _attach(
        self, after: int, gone: Callable[[], bool], *, on_close: Callable[[], None], greeting: bytes
    ) -> Reader:
        reader = Reader(self, after, gone, on_close=on_close, greeting=greeting)
        with self._changed:
            self._reader = reader
            self._changed.notify_all()
        return reader

    # ── the thread of a reader's connection ────────────────────────────────────────────────────────────────

    def take(self, reader: Reader, timeout_s: float) -> tuple[bytes, bool]:
        """What is new for `reader`, and whether it was the last. Empty: nothing came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_news(reader), timeout_s)
            if self._reader is not reader or self._is_discarded:
                return b"", True
            data, reader.position = self._log.after(reader.position, most_bytes=_MOST_AT_ONCE_BYTES)
            if data:
                self._changed.notify_all()
            elif reader.comments != self._comments:
                data = self._comment
            reader.comments = self._comments
            return data, self._is_over and reader.position == self._log.last_id

    def detach(self, reader: Reader) -> None:
        with self._changed:
            if self._reader is reader:
                self._reader = None
                self._alone_since_s = self._clock()
                self._changed.notify_all()

    def _has_news(self, reader: Reader) -> bool:
        return (
            self._reader is not reader
            or self._is_discarded
            or self._is_over
            or reader.position < self._log.last_id
            or reader.comments != self._comments
        )

    # ── the stream's thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            self._fill()
        finally:
            self._finish()
            self._linger()
            self._on_end(self)

    def _fill(self) -> None:
        for chunk in self._stream:
            told = split(chunk)
            if told.comment:
                with self._changed:
                    self._comment = told.comment
                    self._comments += 1
                    self._changed.notify_all()
            if told.events and not self._append(told.events):
                self._give_up()
                return

    def _finish(self) -> None:
        self._stream.let_go()
        with self._changed:
            self._is_over = True
            self._alone_since_s = self._clock()
            self._changed.notify_all()
        self._end_part()

    def _append(self, events: list[bytes]) -> bool:
        """Whether there is room; waits for it while somebody reads."""
        with self._changed:
            while not self._log.make_room(events, through_id=self._reader.position if self._reader else 0):
                if self._reader is None:
                    return False
                if self._is_discarded or self._stream.is_unwanted():
                    break  # the stream says so itself, with its next step
                self._changed.wait(POLL_S)
            self._log.append(events)
            self._changed.notify_all()
        return True

    def _give_up(self) -> None:
        _log.warning("stream_buffer_full", request_id=self.request_id, limit_bytes=self._limit_bytes)
        reason = f"nobody takes its events, and {self._limit_bytes} bytes of them are kept"
        told = split(self._stream.error_event(Cancelled(reason=reason)))
        with self._changed:
            self._log.append(told.events)

    def _linger(self) -> None:
        """For clients that have not got all of it."""
        with self._changed:
            while not self._is_discarded:
                left_s = self._keep_s - (self._clock() - self._alone_since_s)
                if self._reader is None and left_s <= 0:
                    return
                self._changed.wait(POLL_S if self._reader is not None else left_s)

    def _is_abandoned(self) -> bool:
        if self._is_discarded:
            return True
        return self._reader is None and self._clock() - self._alone_since_s > self._keep_s

    def _end_part(self) -> None:
        with self._changed:
            self._parts -= 1
            is_last = self._parts == 0
        if is_last:
            self._stream.exchange.end()


class Reader:
    """The body of one answer with events of a kept stream. Owned by the waitress thread that iterates and
    closes it; `position` and `comments` are under the stream's lock.
    """

    def __init__(
        self,
        kept: KeptStream,
        after: int,
        gone: Callable[[], bool],
        *,
        on_close: Callable[[], None],
        greeting: bytes,
    ) -> None:
        self.position = after
        """The id of the last event that it was handed."""
        self.comments = 0
        self._kept = kept
        self._gone = gone
        self._on_close = on_close
        self._greeting = greeting
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        if self._greeting:
            yield self._greeting
        is_last = False
        while not is_last:
            data, is_last = self._kept.take(self, POLL_S)
            if self._gone():
                return
            if data:
                yield data

    def close(self) -> None:
        """Called by waitress in every case."""
        if not self._is_closed:
            self._is_closed = True
            self._kept.detach(self)
            self._on_close()
