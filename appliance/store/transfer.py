"""How one blob comes over: several streams at once where the source can, restarted where they break off.

    missing ranges of the ingest ─► parts ─► up to `streams` threads, each: open, write, again after a pause

1. Few bytes, or a source that is not parallel: one stream from the first missing byte to the last.
2. Otherwise the first part is opened; if that shows that the source cannot serve ranges, see 1.
3. The calling thread and up to `streams - 1` others take parts from one list, lowest first, so that the hash
   of the ingest can follow.
4. A part that breaks off goes on where it stopped. Six failures in a row without progress end the transfer.

The ingest keeps what has come; a later `fill` continues.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Final, Protocol

from appliance.errors import OutpostError, RemoteUnreachable
from appliance.store.content import Report, moving
from appliance.store.descriptor import Descriptor
from appliance.store.retry import TRIES, is_transient, wait_s

MIN_PART_BYTES: Final = 4 * 1024 * 1024
MAX_PART_BYTES: Final = 64 * 1024 * 1024
REPORT_S: Final = 0.1
CHECKPOINT_S: Final = 2.0
CHECKPOINTS: Final = 64
"""A kill or a power cut costs what came in two seconds, or this part of the blob if that is less ..."""
CHECKPOINT_SHARE: Final = 10
"""... but making things durable gets at most a tenth of the time: a slow card must not slow the network."""
MIN_CHECKPOINT_S: Final = 0.1
_PROGRESS_BYTES: Final = 64 * 1024
"""A try that brought less counts as a failure: a source must not keep us by a byte per connection."""


class Opener(Protocol):
    """The part of `Source` that is needed here."""

    is_parallel: bool

    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]: ...


class Arriving(Protocol):
    """The part of `Ingest` that is needed here. `write` and `checkpoint` take several threads."""

    @property
    def size(self) -> int: ...

    def missing(self) -> list[tuple[int, int]]: ...

    def write(self, offset: int, content: bytes) -> None: ...

    def checkpoint(self) -> None: ...


def fill(
    ingest: Arriving, descriptor: Descriptor, source: Opener, report: Report, *, streams: int = 4
) -> None:
    """Bring all that is missing; blocks until it is there. The digest is `Ingest.commit`'s to check.

    Raises RemoteError when the source fails for good, StoreFault, InsufficientSpace, or what `report` raises.
    """
    _Fill(ingest, descriptor, source, report).run(streams)


def part_bytes(size: int) -> int:
    return min(max(size // 16, MIN_PART_BYTES), MAX_PART_BYTES)


def split(ranges: list[tuple[int, int]], limit: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges, cut so that none is longer than `limit`."""
    for start, end in ranges:
        for at in range(start, end, limit):
            yield at, min(at + limit, end)


class _Part:
    """A range under way; owned by the thread that took it."""

    __slots__ = ("at", "end")

    def __init__(self, at: int, end: int) -> None:
        self.at = at
        self.end = end


class _Fill:
    """One call of `fill`. Its counts are guarded by its lock, the parts are each one thread's."""

    def __init__(self, ingest: Arriving, descriptor: Descriptor, source: Opener, report: Report) -> None:
        self._ingest = ingest
        self._descriptor = descriptor
        self._source = source
        self._report = report
        self._missing = ingest.missing()
        self._parts: deque[_Part] = deque()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._completed = ingest.size - sum(end - start for start, end in self._missing)
        self._reported = self._checkpointed = time.monotonic()
        self._next_checkpoint = self._checkpointed + MIN_CHECKPOINT_S
        self._volatile_bytes = 0

    def run(self, streams: int) -> None:
        self._tell()
        if self._missing:
            size = part_bytes(self._ingest.size)
            self._parts.extend(_Part(*ends) for ends in split(self._missing, size))
            streams = min(streams, len(self._parts))
            if streams < 2 or not self._source.is_parallel or not self._in_parallel(streams):
                self._bring(_Part(self._missing[0][0], self._missing[-1][1]))
        self._tell()

    # ── several streams ─────────────────────────────────────────────────────────────────────────

    def _in_parallel(self, streams: int) -> bool:
        """Step 2 and 3. False: the source cannot, and one stream has to do it all."""
        first = self._parts.popleft()
        with ThreadPoolExecutor(streams - 1, thread_name_prefix="transfer") as pool:
            try:
                if not self._begin(first):
                    return False
                others = [pool.submit(self._work) for _ in range(streams - 1)]
                self._bring(first)
                self._take_parts()
            except BaseException:
                self._stopped.set()
                raise
        for other in others:
            other.result()
        return True

    def _begin(self, first: _Part) -> bool:
        """Whether the source serves ranges, which opening one shows; what comes of it meanwhile is kept."""
        probe = _Part(first.at, min(first.end, first.at + _PROGRESS_BYTES))
        self._bring(probe)
        first.at = probe.at
        return self._source.is_parallel

    def _work(self) -> None:
        """Top of each further thread."""
        try:
            self._take_parts()
        except BaseException:
            self._stopped.set()
            raise

    def _take_parts(self) -> None:
        while not self._stopped.is_set():
            try:
                part = self._parts.popleft()
            except IndexError:
                return
            self._bring(part)

    # ── one stream ──────────────────────────────────────────────────────────────────────────────

    def _bring(self, part: _Part) -> None:
        """Step 4."""
        failures = 0
        while part.at < part.end and not self._stopped.is_set():
            began = part.at
            try:
                self._stream(part)
            except OutpostError as error:
                failures = 1 if part.at - began >= _PROGRESS_BYTES else failures + 1
                if failures >= TRIES or not is_transient(error):
                    raise
                self._pause(wait_s(failures))

    def _stream(self, part: _Part) -> None:
        with self._source.open(self._descriptor, start=part.at, end=part.end) as chunks:
            for chunk in chunks:
                if self._stopped.is_set():
                    return
                self._ingest.write(part.at, chunk)
                part.at += len(chunk)
                self._count(len(chunk))
        if part.at < part.end:
            raise RemoteUnreachable(
                host="the source", reason=f"the stream ended at byte {part.at} of {part.end}"
            )

    def _pause(self, seconds: float) -> None:
        """Before a new try. The listener is asked meanwhile whether it still wants it."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopped.wait(min(left, 0.5)):
            self._tell()

    # ── news ────────────────────────────────────────────────────────────────────────────────────

    def _count(self, size: int) -> None:
        now = time.monotonic()
        with self._lock:
            self._completed += size
            self._volatile_bytes += size
            is_report_due = now - self._reported >= REPORT_S
            if is_report_due:
                self._reported = now
            is_checkpoint_due = self._is_checkpoint_due(now)
            if is_checkpoint_due:
                self._next_checkpoint = now + 3600  # nobody else, while this one lasts
                self._volatile_bytes = 0
        if is_report_due:
            self._tell()
        if is_checkpoint_due:
            self._checkpoint(now)

    def _is_checkpoint_due(self, now: float) -> bool:
        if now < self._next_checkpoint:
            return False
        is_much = self._volatile_bytes * CHECKPOINTS >= self._ingest.size
        return is_much or now - self._checkpointed >= CHECKPOINT_S

    def _checkpoint(self, began: float) -> None:
        self._ingest.checkpoint()
        now = time.monotonic()
        with self._lock:
            self._checkpointed = now
            self._next_checkpoint = now + max(MIN_CHECKPOINT_S, CHECKPOINT_SHARE * (now - began))

    def _tell(self) -> None:
        with self._lock:
            self._report(moving(self._descriptor, min(self._completed, self._ingest.size)))
