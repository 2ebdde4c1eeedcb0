"""The slow part, on two threads of its own: reading, sealing, writing, syncing, removing.

News go into a queue that the engine's thread empties (`news`). A fault of the disk is news, too.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Final, Union

import numpy as np
from numpy.typing import NDArray

from appliance.engine.hibernation.index import Found
from appliance.engine.hibernation.shelf import Listing, NoRoom, Shelf, WriteGivenUp
from appliance.engine.hibernation.snapshot import Head, SnapshotInvalid
from appliance.engine.hibernation.streams import StateUnknown, from_one_stream, room_before
from appliance.engine.hibernation.worker import Work

_FOREVER: Final = float("inf")


@dataclass(slots=True, weakref_slot=True)
class Ticket:
    """A snapshot that is being read. Filled in by the reader thread, `is_done` last."""

    found: Found
    state: NDArray[np.uint8] | None = None
    """None when done: it was refused, or is gone, or is in a slot."""
    is_done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    name: str
    n_bytes: int
    seconds: float
    is_refused: bool = False
    """A byte of it is not as it was written."""
    is_gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    head: Head
    name: str | None
    """None: it is not on the disk."""
    seconds: float


News = Union[Listing, Read, Written]


class Porter:
    """Public methods: the engine's thread. Those named `_do_…` run on the writer or the reader."""

    def __init__(
        self,
        shelf: Shelf,
        *,
        writer: Work,
        reader: Work,
        n_streams: int = 0,
        sync: Callable[[int], None] = os.fsync,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`n_streams`: slots of the context, where its state can be told apart from their number; 0: not."""
        self._shelf = shelf
        self._writer = writer
        self._reader = reader
        self._n_streams = n_streams
        self._sync = sync
        self._clock = clock
        self._news: SimpleQueue[News] = SimpleQueue()
        self._has_news = threading.Event()
        self._write_until_s = _FOREVER
        self._told: set[str] = set()

    def news(self) -> Iterator[News]:
        """All there is. Cheap when that is nothing."""
        for _ in range(self._news.qsize()):
            yield self._news.get_nowait()

    def wait(self, timeout_s: float) -> None:
        """Until there is news."""
        if self._has_news.wait(timeout_s):
            self._has_news.clear()

    def read_in(self) -> None:
        """Answered by a Listing."""
        self._reader.submit(self._do_read_in)

    def read(self, ticket: Ticket) -> None:
        """Answered by Read."""
        self._reader.submit(partial(self._do_read, ticket))

    def write(self, head: Head, state: NDArray[np.uint8]) -> None:
        """Answered by Written."""
        self._writer.submit(partial(self._do_write, head, state))

    def remove(self, name: str) -> None:
        self._writer.submit(partial(self._shelf.remove, name))

    def write_until(self, at_s: float) -> None:
        """What is not written by then is given up, and nothing is synced any more."""
        self._write_until_s = at_s

    def close(self) -> None:
        """End both threads; what is being written is given up."""
        self._write_until_s = -_FOREVER
        self._reader.close()
        self._writer.close()

    # ── the reader ───────────────────────────────────────────────────────────────────────────────

    def _do_read_in(self) -> None:
        try:
            listing = self._shelf.read_in()
        except OSError as error:
            self._say_once(f"the directory cannot be read: {error.strerror}")
            listing = Listing(heads=[], foreign=0, refused=0)
        self._tell(listing)

    def _do_read(self, ticket: Ticket) -> None:
        entry, began_s = ticket.found.entry, self._clock()
        is_refused = is_gone = False
        try:
            ticket.state = self._read(entry.name, entry.head)
        except (SnapshotInvalid, StateUnknown) as error:
            is_refused = True
            self._say_once(f"a snapshot was refused: {error}")
        except (OSError, MemoryError):
            is_gone = True
        ticket.is_done = True
        self._tell(
            Read(
                name=entry.name,
                n_bytes=entry.head.file_bytes,
                seconds=self._clock() - began_s,
                is_refused=is_refused,
                is_gone=is_gone,
            )
        )
        if not is_refused and not is_gone:
            with suppress(OSError):  # it was removed meanwhile
                self._shelf.touch(entry.name)

    def _read(self, name: str, head: Head) -> NDArray[np.uint8]:
        if not self._n_streams:
            return self._shelf.read(name, head)
        state = self._shelf.read(name, head, room_before=room_before(self._n_streams))
        return from_one_stream(state, self._n_streams)

    # ── the writer ───────────────────────────────────────────────────────────────────────────────

    def _do_write(self, head: Head, state: NDArray[np.uint8]) -> None:
        name, began_s = None, self._clock()
        try:
            name = self._shelf.write(
                head,
                state,
                goes_on=lambda: self._clock() < self._write_until_s,
                sync=self._sync if self._write_until_s == _FOREVER else _leave_to_the_kernel,
            )
        except NoRoom:
            self._say_once("a snapshot was not written: the rest of the disk stays free")
        except WriteGivenUp:
            self._say_once("a snapshot was not written: there was no time")
        except OSError as error:
            self._say_once(f"a snapshot was not written: {error.strerror}")
        self._tell(Written(head=head, name=name, seconds=self._clock() - began_s))

    # ── both ─────────────────────────────────────────────────────────────────────────────────────

    def _tell(self, news: News) -> None:
        self._news.put(news)
        self._has_news.set()

    def _say_once(self, what: str) -> None:
        """To the daemon's log."""
        if what not in self._told:
            self._told.add(what)
            print(f"hibernation: {what}", file=sys.stderr, flush=True)  # noqa: T201


def _leave_to_the_kernel(_descriptor: int) -> None:
    """It writes what it has when it can, also when this process is gone."""
